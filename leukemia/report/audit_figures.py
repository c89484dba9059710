"""Figures of an audit: the floors, the groups by class, and what a group looks like."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from leukemia.report.audit import Audit
from leukemia.report.figures import BLUE, CLASS_COLOURS, GREEN, GREY, ORANGE, STYLE
from leukemia.report.floors import by_feature

_MARKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (GREY, "D"))
TILE = 112  # side of a picture in a montage, in pixels


@mpl.rc_context(STYLE)
def floors_figure(audit: Audit) -> Figure:
    """Accuracy of each kind of features under each split, with its interval and chance."""
    features = by_feature(audit.floors)
    protocols = list(dict.fromkeys(floor.protocol for floor in audit.floors))
    figure = Figure(figsize=(9, 1.3 + 0.55 * len(features)), layout="constrained")
    axes = figure.subplots()
    for k, protocol in enumerate(protocols):
        colour, marker = _MARKS[k % len(_MARKS)]
        mine = [
            (row, floor)
            for row, floors in enumerate(features.values())
            for floor in floors
            if floor.protocol == protocol
        ]
        places = [row + 0.16 * (k - (len(protocols) - 1) / 2) for row, _ in mine]
        values = [floor.accuracy for _, floor in mine]
        axes.plot(values, places, marker, color=colour, ms=6, label=f"split={protocol}")
        for place, (_, floor) in zip(places, mine, strict=True):
            if floor.interval:
                axes.hlines(place, *floor.interval, color=colour, lw=1.5)
    largest = np.bincount(audit.labels).max() / len(audit.labels)
    axes.axvline(largest, color=GREY, ls="--", lw=1, label="largest class")
    axes.set_yticks(range(len(features)), list(features))
    axes.set(xlim=(0, 1), xlabel="accuracy")
    axes.invert_yaxis()
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(protocols) + 1)
    return figure


@mpl.rc_context(STYLE)
def groups_figure(audit: Audit) -> Figure:
    """Images of each acquisition group, by class."""
    table = audit.group_table()
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(table)), layout="constrained")
    axes = figure.subplots()
    rows, start = np.arange(len(table)), np.zeros(len(table))
    hatches = ("", "//", "..", "xx", "\\\\", "++", "oo")
    for label, name in enumerate(audit.classes.names):
        axes.barh(
            rows, table[:, label], 0.8, left=start, label=name, edgecolor="w",
            color=CLASS_COLOURS[label % 7], hatch=hatches[label % 7],
        )  # fmt: skip
        start += table[:, label]
    axes.set_yticks(rows, [str(row + 1) for row in rows])
    axes.set(xlabel="images", ylabel="acquisition group")
    axes.invert_yaxis()
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(audit.classes))
    return figure


@mpl.rc_context(STYLE)
def health_figure(audit: Audit) -> Figure:
    """The spread of each measure of health, by class."""
    names = audit.classes.names
    figure = Figure(figsize=(9, 0.9 + 0.4 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(audit.measured), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, audit.measured.items(), strict=True):
        axes.boxplot(
            [values[audit.labels == label] for label in range(len(names))],
            orientation="horizontal", widths=0.6, tick_labels=names,
            flierprops={"marker": ".", "ms": 3, "alpha": 0.4}, medianprops={"color": ORANGE},
        )  # fmt: skip
        axes.set_title(name)
        axes.grid(axis="x")
    panels[0].invert_yaxis()
    return figure


def montage(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put pictures side by side on white, each squashed to one square.

    Args:
        pictures: RGB, (H, W, 3), one or more.

    Returns:
        (112, 112 n, 3).
    """
    wide: NDArray[np.uint8] = np.full((TILE, TILE * len(pictures), 3), 255, np.uint8)
    side = TILE - 2
    for k, picture in enumerate(pictures):
        tile = np.array(Image.fromarray(picture).resize((side, side)))
        wide[:side, k * TILE : k * TILE + side] = tile
    return wide
