"""All that a finished run's calibrated probabilities are worth on one part."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukemia.measure.calibration import SCORES, Calibration
from leukemia.measure.metrics import summarize
from leukemia.measure.operating import HALF, at_threshold, sensitivity_at_specificity
from leukemia.measure.predictions import Predictions
from leukemia.measure.referral import net_benefit, referral, risk_coverage


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
