"""The figures of an evaluation as files of their own, to be put into a paper."""

from pathlib import Path

from leukemia.atomic import write_bytes
from leukemia.report.curves import roc_and_pr
from leukemia.report.decisions import (
    decision_curve,
    reliability_before_after,
    risk_coverage_curves,
)
from leukemia.report.figures import class_bars, confusion_matrix, render
from leukemia.report.findings import Findings


def write_figures(folder: Path, found: Findings) -> None:
    """Write the figures of each judged part as `<figure>_<part>.png`.

    Args:
        folder: where to; made where it is missing.
        found: with a calibration and what `judge` returned.

    Raises:
        ValueError: there is no calibration.
    """
    fitted = found.calibration
    if fitted is None:
        raise ValueError("Expected a calibration, but got none.")
    for name in found.judged:
        part, figures = found.predictions[name], found.metrics[name]
        calibrated = {name: fitted.calibrated(part)}
        drawn = {
            "confusion": confusion_matrix(figures["confusion"], part.classes),
            "classes": class_bars(figures, part.classes),
            "reliability": reliability_before_after(name, part, fitted),
            "referral": risk_coverage_curves(calibrated, fitted.threshold),
        }
        if part.classes.has_cancer:
            drawn["roc_pr"] = roc_and_pr({name: part})
            drawn["decision_curve"] = decision_curve(calibrated, fitted.threshold)
        for what, figure in drawn.items():
            write_bytes(folder / f"{what}_{name}.png", render(figure))
