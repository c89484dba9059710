"""The summary that a run prints at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from leukemia.classes import Classes
from leukemia.report.intervals import shown

_SCALARS = {
    "accuracy": "accuracy",
    "cancer_recall": "cancer sensitivity",
    "cancer_specificity": "cancer specificity",
}


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
    # No markup: a file name may hold brackets.
    console = Console(markup=False, highlight=False, emoji=False)
    summary = Table(box=box.SIMPLE_HEAD)
    summary.add_column("95% interval in brackets", overflow="fold")
    for name, part in metrics.items():
        summary.add_column(f"{name} (n = {part['n']})")
    for key, label in _SCALARS.items():
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
        console.print(f"  {what:{width}}  {path}", soft_wrap=True)
    for note in notes:
        console.print(f"  Note: {note}")
