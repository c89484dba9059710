"""Decision-curve analysis: whether acting on P(cancer) beats acting on all images or on none."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leukemia.report.predictions import Predictions

Floats = NDArray[np.float64]

THRESHOLDS = np.arange(1, 100) / 100


class NetBenefit(NamedTuple):
    """Net benefit by threshold probability, (K,) each; treating none has 0 throughout."""

    threshold: Floats
    model: Floats
    treat_all: Floats


def net_benefit(predictions: Predictions, thresholds: Floats = THRESHOLDS) -> NetBenefit:
    """Net benefit of following up the images whose P(cancer) is at least each threshold.

    The threshold t says what a needless follow-up is worth: one missed cancer weighs as much as
    (1 - t) / t of them, so that at t = 0.05 it weighs as 19. Net benefit is TP / n - FP / n *
    t / (1 - t): found cancers per image, less the false alarms at that rate. It depends on the
    share of cancers among the images, which in a collection is not that of a clinic.

    Source: A. J. Vickers, E. B. Elkin (2006), doi:10.1177/0272989X06295361.

    Args:
        predictions: N files with labels and (calibrated) probabilities.
        thresholds: threshold probabilities, (K,), in (0, 1).

    Returns:
        The thresholds, the model's net benefit and that of following up every image.

    Raises:
        ValueError: a threshold outside (0, 1).
    """
    if not ((thresholds > 0) & (thresholds < 1)).all():
        raise ValueError(f"Expected thresholds in (0, 1), but got {thresholds.tolist()}.")
    called = predictions.p_cancer >= thresholds[:, None]
    rate = thresholds / (1 - thresholds)
    found = (called & predictions.cancer).mean(axis=1)
    alarms = (called & ~predictions.cancer).mean(axis=1)
    share = predictions.cancer.mean()
    return NetBenefit(thresholds, found - alarms * rate, share - (1 - share) * rate)
