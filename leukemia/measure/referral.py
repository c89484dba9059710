"""What a run's decisions are worth: with its doubtful images to a human, and in all."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leukemia.measure.calibration import SCORES, Calibration
from leukemia.measure.intervals import ratio
from leukemia.measure.metrics import summarize
from leukemia.measure.operating import HALF, at_most, at_threshold, sensitivity_at_specificity
from leukemia.measure.predictions import Predictions

Floats = NDArray[np.float64]

SHARES = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30)


class RiskCoverage(NamedTuple):
    """Figures of the k most certain images for k = 1 to N, (N,) each, nan where undefined.

    Args:
        accuracy: of them.
        cancers: how many of them are cancers; None where no class is benign.
        missed: how many of these are not called cancer; None where no class is benign.
    """

    accuracy: Floats
    cancers: Floats | None
    missed: Floats | None

    @property
    def sensitivity(self) -> Floats | None:
        """Share of the remaining cancers that are called cancer; nan where none remains."""
        if self.cancers is None or self.missed is None:
            return None
        return 1 - ratio(self.missed, self.cancers)

    @property
    def area(self) -> float:
        """Area under the risk-coverage curve: the mean of 1 - accuracy over k, in [0, 1].

        0 is perfect. Source: Y. Geifman, G. Uziel, R. El-Yaniv (2018), arXiv:1805.08206.
        """
        return float((1 - self.accuracy).mean())


def risk_coverage(predictions: Predictions, threshold: float | None = None) -> RiskCoverage:
    """Accuracy and missed cancers among the most certain images, by how many these are.

    Images are ordered by the probability of their top class. Equally certain images share their
    figures: each counts as their mean, the expectation over the orders they could have. The order
    of the files never matters.

    Args:
        predictions: N files with labels and probabilities.
        threshold: the least P(cancer) called cancer; None for the most probable class to decide.
            Accuracy is always that of the most probable class.
    """
    # The rest, and not 1 - top, which rounds to 0 below 1e-16 and so makes ties.
    rest = np.sort(predictions.probabilities, axis=1)[:, :-1].sum(axis=1)
    _, block, size = np.unique(rest, return_inverse=True, return_counts=True)

    def summed(values: NDArray[np.bool_]) -> Floats:
        sums: Floats = np.repeat(np.bincount(block, values) / size, size).cumsum()
        return sums

    kept = np.arange(1, len(rest) + 1)
    accuracy = summed(predictions.labels == predictions.predicted) / kept
    if not predictions.classes.has_cancer:
        return RiskCoverage(accuracy, None, None)
    called = predictions.called_cancer
    if threshold is not None:
        called = predictions.p_cancer >= threshold
    return RiskCoverage(
        accuracy=accuracy,
        cancers=summed(predictions.cancer),
        missed=summed(predictions.cancer & ~called),
    )


def referral(predictions: Predictions, threshold: float | None = None) -> list[dict[str, Any]]:
    """What remains when the least certain 0, 5, ... 30% of images are referred.

    Args:
        predictions: N files with labels and probabilities.
        threshold: as for `risk_coverage`.

    Returns:
        For each share `referred` (as wanted; of so many images as are not more than it), `n` that
        remain, `accuracy`, and where a class is benign `cancers`, `missed` and `sensitivity` of
        them; the last is None where no cancer remains. Counts are fractions where a cut falls
        among equally certain images.
    """
    curve, n = risk_coverage(predictions, threshold), len(predictions.files)
    rows: list[dict[str, Any]] = []
    for share in SHARES:
        kept = n - at_most(share, n)
        row: dict[str, Any] = {
            "referred": share,
            "n": kept,
            "accuracy": float(curve.accuracy[kept - 1]),
        }
        if curve.cancers is not None and curve.missed is not None:
            cancers, missed = float(curve.cancers[kept - 1]), float(curve.missed[kept - 1])
            sensitivity = 1 - missed / cancers if cancers > 0 else None
            row |= {"cancers": cancers, "missed": missed, "sensitivity": sensitivity}
        rows.append(row)
    return rows


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


def judge(
    predictions: Predictions,
    calibration: Calibration,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Judge one part by a calibration fitted on another.

    Args:
        predictions: N files with labels and probabilities as the network gave them, uncalibrated.
        calibration: the run's, from `fit_calibration`.
        groups: which files belong together, (N,); None where every image stands for itself.

    Returns:
        Plain values for JSON. Where no class is benign: `n`, `uncalibrated` and `calibrated` as
        below, `referral` by `plain`, `risk_coverage_area`, and `uncertain` without `missed`. Else
        `n`; `uncalibrated` and `calibrated`, each with nll, brier and ece
        and their `interval`; and, all on calibrated probabilities: `operating`, by `threshold`
        (the chosen one) and `half` (0.5), as `at_threshold` returns them;
        `sensitivity_at_specificity`; `net_benefit` with the lists `threshold`, `model`,
        `treat_all`; `referral`, by the same two thresholds, and `risk_coverage_area`;
        `uncertain` with the `files` to be looked at, how many they are (`n`), and the `wrong` and
        `missed` (cancers, at the chosen threshold) among the images that are certain.
    """
    calibrated = calibration.calibrated(predictions)
    scores = {
        "n": len(predictions.files),
        "uncalibrated": _scores(predictions, groups),
        "calibrated": _scores(calibrated, groups),
    }
    if calibration.threshold is None:
        return {
            **scores,
            "referral": {"plain": referral(calibrated)},
            "risk_coverage_area": risk_coverage(calibrated).area,
            "uncertain": _uncertain(calibrated, calibration),
        }
    limits = {"threshold": calibration.threshold, "half": HALF}
    return {
        **scores,
        "operating": {
            name: at_threshold(calibrated, limit, groups) for name, limit in limits.items()
        },
        "sensitivity_at_specificity": sensitivity_at_specificity(calibrated, groups=groups),
        "net_benefit": {
            name: values.tolist() for name, values in net_benefit(calibrated)._asdict().items()
        },
        "referral": {name: referral(calibrated, limit) for name, limit in limits.items()},
        "risk_coverage_area": risk_coverage(calibrated).area,
        "uncertain": _uncertain(calibrated, calibration),
    }


def _scores(predictions: Predictions, groups: NDArray[np.int64] | None) -> dict[str, Any]:
    figures = summarize(predictions, groups)
    scores = {name: figures[name] for name in SCORES}
    return {**scores, "interval": {name: figures["interval"][name] for name in SCORES}}


def _uncertain(calibrated: Predictions, calibration: Calibration) -> dict[str, Any]:
    doubtful = calibration.uncertain(calibrated.probabilities, calibrated.classes)
    wrong = calibrated.labels != calibrated.predicted
    missed = {}
    if calibration.threshold is not None:
        below = calibrated.cancer & (calibrated.p_cancer < calibration.threshold)
        missed = {"missed": int((below & ~doubtful).sum())}
    return {
        "n": int(doubtful.sum()),
        "wrong": int((wrong & ~doubtful).sum()),
        **missed,
        "files": [calibrated.files[i] for i in np.flatnonzero(doubtful)],
    }
