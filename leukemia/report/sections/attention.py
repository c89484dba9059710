"""Where the network looks, in numbers."""

from collections.abc import Iterator, Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from leukemia.report.figures import STYLE, class_boxes
from leukemia.report.findings import Findings
from leukemia.report.page import image, table
from leukemia.report.predictions import Predictions

Shares = Mapping[str, NDArray[np.float64]]


def attention(found: Findings) -> Iterator[str]:
    """How much of the heat maps lies on what, by class, where there are maps."""
    if not any(found.attention.values()):
        return
    yield "<h2>Attention</h2>"
    yield (
        "<p>Each image's heat map, divided among regions. Attention off the cells is a warning: "
        "the decision may rest on how the picture was taken.</p>"
    )
    for name, shares in found.attention.items():
        part = found.predictions[name]
        yield image(
            attention_boxes(part, shares),
            f"Box plots of the share of attention on {', '.join(shares)}, by class, {name}; the "
            "table below has medians and quartiles.",
            f"{name}: share of a heat map's mass by region and true class: median, quartiles, "
            "and whiskers to 1.5 times their distance.",
        )
        yield table(
            f"{name}: share of attention, median [quartiles]",
            ["class", *shares],
            [
                [label, *(_quartiles(values[part.labels == i]) for values in shares.values())]
                for i, label in enumerate(part.classes.names)
            ],
        )


@mpl.rc_context(STYLE)
def attention_boxes(part: Predictions, shares: Shares) -> Figure:
    """One panel a region, one box a class.

    Args:
        part: the predictions of N files.
        shares: by region, in [0, 1], (N,); nan where an image has no map.
    """
    figure = Figure(figsize=(3 * len(shares), 3.4), layout="constrained")
    panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for axes, (region, values) in zip(panels, shares.items(), strict=True):
        class_boxes(axes, values, part.labels, part.classes.names)
        axes.set(title=region, ylim=(-0.02, 1.02))
    panels[0].set_ylabel("share of attention")
    return figure


def _quartiles(values: NDArray[np.float64]) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return "n/a"
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"
