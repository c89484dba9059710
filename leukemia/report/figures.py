"""Figures of a run: what they share, and those of the decisions.

Each function returns a free-standing Figure: no pyplot, so no state shared between runs. Colours
are those of Okabe and Ito, told apart by colour-blind readers; line style, marker or hatch says
it again.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from leukemia.classes import Classes
from leukemia.disk import write_bytes
from leukemia.measure.intervals import shown

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"
CLASS_COLOURS = (BLUE, "#E69F00", GREEN, "#CC79A7", "#56B4E9", ORANGE, "#000000")
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "grid.color": "#E0E0E0",
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
}
_DPI = 192
MANY = 10  # classes, above which cells and bars are drawn smaller and without all numbers
_NUMBERS = 5  # classes up to which bars have their numbers above them
_LETTER = 0.085  # inches that a letter takes, at 10 points
_TURNED = 0.3  # inches that a class takes where its name is written upwards
_WIDEST = 15  # inches of a figure, above which a page would shrink it beyond reading


def turns_labels(names: Sequence[str], inches: float) -> bool:
    """Whether names below an axis would run into each other, at so many inches for each."""
    return max(map(len, names)) * _LETTER > inches


def turn_labels(axes: Axes, names: Sequence[str], inches: float = 0.0) -> None:
    """Write the names of classes below an axis upwards, where they would run into each other.

    Args:
        axes: whose labels are set.
        names: of the C classes.
        inches: of each; by default those that `class_width` reckons with.
    """
    if turns_labels(names, inches) if inches else _turned(names):
        axes.tick_params(axis="x", labelrotation=90)


def class_width(names: Sequence[str], least: float) -> float:
    """The inches that a panel takes which holds something for each class.

    Args:
        names: of the C classes.
        least: inches of a panel of few classes.
    """
    return max(least, 1 + _TURNED * len(names)) if _turned(names) else least


def _turned(names: Sequence[str]) -> bool:
    return len(names) > 6 or sum(map(len, names)) > 36


def class_colours(n: int) -> list[str]:
    """A colour for each of `n` classes, as different as so many can be."""
    if n <= len(CLASS_COLOURS):
        return list(CLASS_COLOURS[:n])
    # Strong and light ones in turn, and beyond 40 all hues.
    if n <= 40:
        strong = [*mpl.colormaps["tab20"].colors, *mpl.colormaps["tab20b"].colors]  # type: ignore[attr-defined]
        return [to_hex(colour) for colour in strong[:n]]
    return [to_hex(mpl.colormaps["turbo"](i / (n - 1))) for i in range(n)]


def save(figure: Figure, path: Path) -> None:
    """Write a figure, atomically.

    Args:
        figure: the figure.
        path: the file; its suffix, such as `.png`, `.svg` or `.pdf`, chooses the format.
    """
    write_bytes(path, render(figure, path.suffix.removeprefix(".")))


@mpl.rc_context(STYLE)
def render(figure: Figure, kind: str = "png") -> bytes:
    """The bytes of a figure's image file.

    Args:
        figure: the figure; an inch is 192 pixels, so that it stays sharp at half its size.
        kind: a format of matplotlib's, such as `png` or `svg`.
    """
    buffer = io.BytesIO()
    if kind == "png":  # savefig would draw twice
        figure.set_dpi(_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        Image.fromarray(pixels).save(buffer, "png")
    else:
        figure.savefig(buffer, format=kind, dpi=_DPI)
    return buffer.getvalue()


@mpl.rc_context(STYLE)
def confusion_matrix(confusion: Sequence[Sequence[int]], classes: Classes) -> Figure:
    """The confusion matrix: counts, and each cell's share of its row.

    Of more than 10 classes the share is a colour alone, and cells without images are left empty.

    Args:
        confusion: (C, C), true classes as rows.
        classes: names of the C classes.
    """
    counts = np.array(confusion)
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    many = len(classes) > MANY
    longest = max(map(len, classes.names))
    cell = min(0.36, (_WIDEST - 3) / len(classes)) if many else 0.75
    side = (1.1 if not many else 0.8 + _LETTER * longest) + cell * len(classes)
    figure = Figure(figsize=(side + 0.3, side), layout="constrained")
    axes = figure.subplots()
    size = min(8.0, cell * 22) if many else None  # of the numbers, in points
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        value = share[row, column]
        text = f"{count}\n{value:.1%}" if count else "0"
        if many:  # the mistakes must stand out among hundreds of cells
            text = str(count) if count else ""
        colour = "w" if value > 0.5 else "k"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    line = " " if many else "\n"
    labels = [f"{name}{line}(n={n})" for name, n in zip(classes.names, rows.flat, strict=True)]
    axes.set_xticks(range(len(classes)), classes.names)
    axes.set_yticks(range(len(classes)), labels)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    if many:
        axes.set_xticks(np.arange(len(classes)) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(classes)) + 0.5, minor=True)
        axes.grid(which="minor")
        axes.tick_params(which="minor", length=0)
    turn_labels(axes, classes.names, cell)
    return figure


@mpl.rc_context(STYLE)
def class_bars(metrics: Mapping[str, Any], classes: Classes) -> Figure:
    """Precision, recall and F1 of each class; of more than 5 classes without the numbers.

    Args:
        metrics: one part's figures, as `summarize` returns them; the whiskers on recall are its
            interval.
        classes: names of the classes.
    """
    many = len(classes) > MANY
    width = min(class_width(classes.names, 9), _WIDEST)
    figure = Figure(figsize=(width, 4.6 if many else 3.4), layout="constrained")
    axes = figure.subplots()
    x = np.arange(len(classes))
    kinds = (("precision", BLUE, ""), ("recall", ORANGE, "//"), ("f1", GREEN, ".."))
    for shift, (kind, colour, hatch) in zip((-0.27, 0, 0.27), kinds, strict=True):
        values = [metrics[kind][name] for name in classes.names]
        heights = [value or 0.0 for value in values]
        axes.bar(x + shift, heights, 0.25, color=colour, hatch=hatch, edgecolor="w", label=kind)
        numbers = values if len(classes) <= _NUMBERS else []  # of more they would overlap
        for place, value in zip(x + shift, numbers, strict=False):
            axes.text(place, 1.02, shown(value), ha="center", fontsize=9)
    for place, name in enumerate(classes.names):
        bounds = metrics["interval"][f"recall.{name}"]
        if bounds is not None:
            axes.vlines(place, *bounds, color="k", linewidth=1.5)
    axes.set_xticks(x, classes.names)
    axes.set_xlim(-0.6, len(classes) - 0.4) if many else None
    turn_labels(axes, classes.names, (width - 1) / len(classes))
    axes.set(ylim=(0, 1.08), yticks=np.linspace(0, 1, 6))
    axes.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def by_class(
    values: NDArray[np.float64], labels: NDArray[np.int64], n_classes: int
) -> list[NDArray[np.float64]]:
    """Part N values, (N,), by the labels of their images, (N,); nan is left out."""
    return [values[(labels == label) & ~np.isnan(values)] for label in range(n_classes)]


def class_boxes(
    axes: Axes, values: NDArray[np.float64], labels: NDArray[np.int64], names: Sequence[str]
) -> None:
    """Draw a box for each class.

    Args:
        axes: where.
        values: of N images, (N,); nan is left out.
        labels: their classes, (N,), in 0 to C - 1.
        names: of the C classes.
    """
    axes.boxplot(
        by_class(values, labels, len(names)),
        tick_labels=names,
        medianprops={"color": "k", "linewidth": 2},
        boxprops={"facecolor": BLUE, "alpha": 0.5},
        flierprops={"markersize": 3},
        patch_artist=True,
    )
    axes.set_xticks(range(1, len(names) + 1), names)  # panels that share an axis would add theirs
    turn_labels(axes, names)
    axes.grid(axis="y")
