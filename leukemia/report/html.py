"""`report.html`: what a run did, on one page that needs nothing but itself."""

from pathlib import Path

from leukemia.atomic import write_bytes, write_text
from leukemia.report.curves import roc_and_pr
from leukemia.report.decisions import (
    decision_curve,
    reliability_before_after,
    risk_coverage_curves,
)
from leukemia.report.figures import class_bars, confusion_matrix, render
from leukemia.report.findings import Findings
from leukemia.report.page import page
from leukemia.report.sections.mistakes import attention, gallery, lists
from leukemia.report.sections.probabilities import decisions, probabilities
from leukemia.report.sections.summary import (
    by_class,
    data,
    embedding,
    opening,
    settings,
    summary,
    training,
)

LIMIT = 5_000_000  # bytes of the page: it must still open on a small machine and go by mail
_GALLERY = 2_500_000  # bytes of it that pictures may take


def write_report(path: Path, found: Findings) -> None:
    """Write the report of a run, atomically: figures inside, no link to anything.

    Args:
        path: the HTML file; below 5 MB, as pictures of mistakes are left out before it grows
            beyond.
        found: what is known; each section appears only where its part is given.
    """
    figures = [
        *opening(found),
        *summary(found),
        *by_class(found),
        *training(found),
        *probabilities(found),
        *decisions(found),
        *embedding(found),
        *attention(found),
    ]
    tables = [*lists(found), *data(found), *settings(found)]
    used = len(page(found.title, [*figures, *tables]).encode())
    pictures = gallery(found, min(_GALLERY, LIMIT - used - 10_000))
    write_text(path, page(found.title, [*figures, *pictures, *tables]))


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
