"""The summary that a run prints at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from leukemia.classes import Classes
from leukemia.measure.calibration import Calibration
from leukemia.measure.intervals import shown
from leukemia.text import visible

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
    names = {
        "threshold": f"chosen on {calibration.part} for sensitivity {calibration.sensitivity:g}",
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
