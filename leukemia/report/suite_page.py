"""A suite's table, figure and page."""

import csv
import io
from html import escape
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from leukemia.disk import write_bytes, write_text
from leukemia.measure.intervals import shown
from leukemia.measure.robustness import Suite, summary_rows
from leukemia.report.figures import BLUE, GREEN, GREY, ORANGE, STYLE, render
from leukemia.report.page import image, page, table

_COLOURS = (BLUE, ORANGE, GREEN, GREY)
_COLUMNS = 4


def write_suite(folder: Path, name: str, suite: Suite) -> None:
    """Write ``suite_<name>.csv``, ``.html`` and ``figures/suite_<name>.png``, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = suite.figures
    bounds = [f"{figure}_{end}" for figure in names for end in ("low", "high")]
    writer.writerow(["perturbation", "strength", "value", "model", "n", *names, *bounds])
    for row in suite.scored:
        ends = [end for figure in names for end in row.intervals[figure] or ("", "")]
        figures = [row.figures[figure] for figure in names]
        writer.writerow(
            [row.perturbation, row.strength, row.value, row.model, suite.n, *figures, *ends]
        )
    write_text(folder / f"suite_{name}.csv", text.getvalue())
    write_bytes(folder / "figures" / f"suite_{name}.png", render(curves(suite)))
    write_text(folder / f"suite_{name}.html", _page(suite))


@mpl.rc_context(STYLE)
def curves(suite: Suite) -> Figure:
    """Accuracy by strength, a panel a perturbation; the run's cancer sensitivity dashed."""
    names = list(suite.says)
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(12, 0.7 + 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        for colour, model in zip(_COLOURS, suite.models, strict=False):
            points = [suite.plain(model), *suite.curve(model, name)]
            places = [row.strength for row in points]
            heights = [row.figures["accuracy"] for row in points]
            axes.plot(places, heights, "o-", color=colour, label=f"{model}: accuracy")
            if model == suite.models[0] and "cancer_recall" in suite.figures:
                sensitivity = [row.figures["cancer_recall"] for row in points]
                label = f"{model}: cancer sensitivity"
                axes.plot(places, sensitivity, "s--", color=colour, alpha=0.6, label=label)
        if suite.moderate:
            axes.axvspan(-0.2, max(suite.moderate) + 0.2, color="#F2F2F2", zorder=0)
        axes.set(title=name, ylim=(0, 1.03), xlim=(-0.2, 5.2))
        axes.grid(axis="y")
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("strength (0: as they are; shaded: the moderate half)")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _page(suite: Suite) -> str:
    header, rows = summary_rows(suite)
    detail = [
        [
            row.perturbation,
            f"{row.strength} ({row.value:g})",
            row.model,
            *(shown(row.figures[figure], row.intervals[figure]) for figure in suite.figures),
        ]
        for row in suite.scored
    ]
    return page(
        suite.title,
        [
            *(f'<p class="warning">{escape(note)}</p>' for note in suite.notes),
            f"<p>{suite.n} images, changed in ways that leave the cells' shape alone. Floors are "
            "support vector machines on colour without any shape, trained on the run's own "
            "training images as they are.</p>",
            image(
                curves(suite),
                "Accuracy by strength for each perturbation; the table at the end has the values.",
                "Accuracy under each change; shaded, the moderate half of the strengths.",
            ),
            table("Loss over the moderate half: mean and worst of all its changes", header, rows),
            table(
                "What the strengths are",
                ["perturbation", "value"],
                [list(pair) for pair in suite.says.items()],
            ),
            table(
                "Every figure with its 95% interval",
                [
                    "perturbation",
                    "strength",
                    "model",
                    *(f.replace("_", " ") for f in suite.figures),
                ],
                detail,
            ),
        ],
    )
