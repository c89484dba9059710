"""What the probabilities are worth, before and after calibration."""

from collections.abc import Iterator
from html import escape

from leukemia.report.calibration import SCORES, Calibration
from leukemia.report.curves import reliability, roc_and_pr
from leukemia.report.decisions import reliability_before_after
from leukemia.report.findings import Findings
from leukemia.report.intervals import shown
from leukemia.report.page import image, table
from leukemia.report.sections.summary import SCALARS

CALIBRATION_HEADER = ("part", "probabilities", *(SCALARS[name] for name in SCORES))
_RELIABLE = (
    "How often the most probable class is right, by its probability, with 95% intervals. "
    "On the dashed line confidence equals accuracy."
)


def probabilities(found: Findings) -> Iterator[str]:
    """ROC, precision-recall and reliability of every part."""
    yield "<h2>Probabilities</h2>"
    yield image(
        roc_and_pr(found.predictions),
        "ROC and precision-recall curves of cancer against benign; the summary has the areas.",
        "Cancer against benign, by the probability of cancer. Markers: the decision taken here.",
    )
    fitted = found.calibration
    if fitted is not None:
        yield f"<p>{escape(calibration_said(fitted))}</p>"
        if found.judged:
            yield table("Before and after", CALIBRATION_HEADER, calibration_rows(found))
    if fitted is None or fitted.temperature == 1:
        yield image(
            reliability(found.predictions),
            "Accuracy against confidence in 15 bins, with the number of images in each bin.",
            _RELIABLE,
        )
        return
    for name, part in found.predictions.items():
        yield image(
            reliability_before_after(name, part, fitted),
            f"Accuracy against confidence in 15 bins, before and after calibration, {name}.",
            f"{name}: {_RELIABLE}",
        )


def calibration_rows(found: Findings) -> list[list[str]]:
    """NLL, Brier score and ECE of each part before and after, under `CALIBRATION_HEADER`."""
    return [
        [part, name, *(shown(judged[name][k], judged[name]["interval"][k]) for k in SCORES)]
        for part, judged in found.judged.items()
        for name in ("uncalibrated", "calibrated")
    ]


def calibration_said(fitted: Calibration) -> str:
    """How the probabilities were calibrated, in a sentence."""
    unchanged = " (1: unchanged)" if fitted.temperature == 1 else ""
    return (
        f"Calibrated by one temperature of {fitted.temperature:.3f}{unchanged}, fitted on "
        f"{fitted.part} ({fitted.n} images)."
    )
