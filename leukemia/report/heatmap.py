"""Heat maps over the image that they explain."""

from collections.abc import Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from leukemia.report.figures import STYLE

_COLOURS: Final = "viridis"  # ordered by lightness too, so that colour-blind readers lose nothing
_STRENGTH: Final = 0.6  # of the map over the image
_LEAST: Final = 1e-12


def overlay(picture: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Lay a heat map over an image in grey.

    Args:
        picture: RGB, (H, W, 3).
        heat: (H, W); its maximum is the brightest colour, 0 and below the darkest.

    Returns:
        RGB, (H, W, 3).
    """
    positive = np.maximum(heat, 0)
    colours = mpl.colormaps[_COLOURS](positive / max(positive.max(), _LEAST))[..., :3]
    mixed = _STRENGTH * 255 * colours + (1 - _STRENGTH) * _grey(picture)
    return np.asarray(np.round(mixed), dtype=np.uint8)


@mpl.rc_context(STYLE)
def heat_figure(
    picture: NDArray[np.uint8], maps: Mapping[str, tuple[NDArray[np.floating], str]], title: str
) -> Figure:
    """An image beside its heat maps, each over the image in grey with its colour bar.

    Args:
        picture: RGB, (H, W, 3).
        maps: by method, the map (H, W), drawn from 0 up, and the unit of its values.
        title: stands above; plain text.
    """
    # Placed by hand: a layout engine would take as long as the maps.
    width, height = 3.0 + 3.9 * len(maps), 3.8
    figure = Figure(figsize=(width, height))
    lefts = [0.1, *(3.2 + 3.9 * i for i in range(len(maps)))]
    panels = [figure.add_axes((x / width, 0.1 / height, 2.8 / width, 2.8 / height)) for x in lefts]
    panels[0].imshow(picture)
    panels[0].set_title("image")
    for left, axes, (method, (heat, unit)) in zip(lefts[1:], panels[1:], maps.items(), strict=True):
        axes.imshow(_grey(picture).astype(np.uint8).repeat(3, axis=2))
        drawn = axes.imshow(
            np.maximum(heat, 0),
            cmap=_COLOURS,
            alpha=_STRENGTH,
            vmin=0,
            vmax=max(float(heat.max()), _LEAST),
        )
        axes.set_title(method)
        bar = figure.add_axes(((left + 2.9) / width, 0.3 / height, 0.1 / width, 2.4 / height))
        figure.colorbar(drawn, cax=bar, label=unit)
    for axes in panels:
        axes.set_axis_off()
    figure.suptitle(title, x=0.1 / width, ha="left", fontsize=10, parse_math=False)
    return figure


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    weights = np.array([0.299, 0.587, 0.114])  # of R, G and B in brightness (ITU-R BT.601)
    grey: NDArray[np.float64] = (picture @ weights)[..., np.newaxis]
    return grey
