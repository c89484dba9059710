"""The parts of a page that needs nothing but itself, escaped; and tables in a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from leukemia.classes import Classes
from leukemia.disk import write_bytes, write_text
from leukemia.measure.calibration import Calibration
from leukemia.measure.intervals import shown
from leukemia.report.curves import roc_and_pr
from leukemia.report.figures import class_bars, confusion_matrix, render
from leukemia.report.findings import Findings
from leukemia.report.mistakes import attention, gallery, lists
from leukemia.report.page import page
from leukemia.report.probabilities import (
    decision_curve,
    decisions,
    probabilities,
    reliability_before_after,
    risk_coverage_curves,
)
from leukemia.report.summary import (
    by_class,
    data,
    embedding,
    opening,
    settings,
    summary,
    training,
)
from leukemia.text import visible

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


_SCALARS = {
    "accuracy": "accuracy",
    "cancer_recall": "cancer sensitivity",
    "cancer_specificity": "cancer specificity",
}
_PLAIN = {"accuracy": "accuracy", "macro_f1": "macro F1"}  # where no class is benign


def print_summary(
    metrics: Mapping[str, Mapping[str, Any]],
    classes: Classes,
    paths: Mapping[str, Path],
    notes: Sequence[str],
) -> None:
    """Print the main figures of each part, then where everything lies, on stdout.

    Args:
        metrics: figures by part (val, test), as `summarize` returns them.
        classes: names of the classes.
        paths: what was written, by what it is.
        notes: what a reader must know to judge the figures, one sentence each.
    """
    console = _console()
    summary = Table(box=box.SIMPLE_HEAD)
    summary.add_column("95% interval in brackets", overflow="fold")
    for name, part in metrics.items():
        summary.add_column(f"{name} (n = {part['n']})")
    for key, label in (_SCALARS if classes.has_cancer else _PLAIN).items():
        summary.add_row(
            label, *(shown(part[key], part["interval"][key]) for part in metrics.values())
        )
    console.print(summary)
    by_class = Table(box=box.SIMPLE_HEAD)
    by_class.add_column("class", overflow="fold")
    kinds = [(part, kind) for part in metrics for kind in ("precision", "recall", "f1")]
    for part_name, kind in kinds:
        by_class.add_column(f"{part_name}\n{kind}", justify="right")
    for label in classes.names:
        by_class.add_row(label, *(shown(metrics[part][kind][label]) for part, kind in kinds))
    console.print(by_class)
    width = max(map(len, paths), default=0)
    for what, path in paths.items():
        # Never wrapped, so that it can be copied whole.
        console.print(visible(f"  {what:{width}}  {path}"), soft_wrap=True)
    for note in notes:
        console.print(visible(f"  Note: {note}"))


def print_operating(operating: Mapping[str, Mapping[str, Any]], calibration: Calibration) -> None:
    """Print what calling cancer from each threshold on does, on stdout.

    Args:
        operating: figures by name of threshold, as `judge` returns them.
        calibration: where the thresholds come from.
    """
    wanted = f"for sensitivity {calibration.sensitivity:g}"
    names = {
        "threshold": f"chosen on {calibration.fitted_on} {wanted}",
        "half": "fixed",
    }
    print_rows(
        ["threshold on P(cancer)", "", "sensitivity", "specificity", "missed cancers"],
        [
            [
                f"{point['threshold']:.4g}",
                names[name],
                *(
                    shown(point[key], point["interval"][key])
                    for key in ("sensitivity", "specificity")
                ),
                str(len(point["false_negatives"])),
            ]
            for name, point in operating.items()
        ],
    )
    for missed in operating["threshold"]["false_negatives"]:
        line = f"  missed: {missed['file']}, P(cancer) = {missed['p_cancer']:.4g}"
        _console().print(visible(line), soft_wrap=True)


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of plain text on stdout."""
    grid = Table(box=box.SIMPLE_HEAD)
    for name in header:
        grid.add_column(visible(name), overflow="fold")
    for row in rows:
        grid.add_row(*map(visible, row))
    _console().print(grid)


def _console() -> Console:
    # No markup: a file name may hold brackets.
    return Console(markup=False, highlight=False, emoji=False)
