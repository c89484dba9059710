"""Background, red cells and nuclei of a smear, told apart by darkness alone."""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

CORNER: Final = (190 / 224, 170 / 224)
"""Where the corner of the scale bar begins, as shares of height and width."""

_BINS: Final = 128


@dataclass(frozen=True, eq=False)
class Regions:
    """Pixels of an image; edges between regions and the corner of the scale bar are in none.

    Args:
        background: unstained glass, (H, W).
        cells: red cells and cytoplasm, (H, W).
        nuclei: what is darkest, (H, W).
    """

    background: NDArray[np.bool_]
    cells: NDArray[np.bool_]
    nuclei: NDArray[np.bool_]


def corner(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns of the corner of the scale bar.

    Args:
        shape: of an image, (H, W) or more.
    """
    return slice(round(shape[0] * CORNER[0]), None), slice(round(shape[1] * CORNER[1]), None)


def outside_corner(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixels are not in the corner of the scale bar, (H, W)."""
    outside = np.ones(shape[:2], np.bool_)
    outside[corner(shape)] = False
    return outside


def find_regions(rgb: NDArray[np.uint8]) -> Regions:
    """Part an image by two thresholds of its green channel, in which all stains are dark.

    Otsu's criterion for three classes (doi:10.1109/TSMC.1979.4310076).

    Args:
        rgb: (H, W, 3), uint8.

    Returns:
        The regions; some are empty where there are fewer shades.
    """
    # Neither the smoothing nor what it makes of the corner's edge shall bring it in.
    around = np.ones((2 * math.ceil(4 * rgb.shape[1] / 224) + 1,) * 2, np.uint8)
    usable = cv2.erode(outside_corner(rgb.shape).astype(np.uint8), around) > 0
    smooth = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rgb.shape[1] / 224), dtype=np.uint8)
    green = smooth[..., 1]
    low, high = _two_thresholds(green[usable])

    def inner(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return cv2.erode((pixels & usable).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0

    return Regions(inner(green >= high), inner((green >= low) & (green < high)), inner(green < low))


def _two_thresholds(values: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the thresholds between which the variance of three classes is greatest."""
    counts = np.bincount(values // 2, minlength=_BINS).astype(np.float64)
    below = np.concatenate([[0], counts.cumsum()])
    mass = np.concatenate([[0], (counts * np.arange(_BINS)).cumsum()])

    def spread(n: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
        out: NDArray[np.float64] = np.zeros(n.shape)
        return np.divide(total**2, n, out=out, where=n > 0)

    between = (
        spread(below, mass)[:, None]
        + spread(below - below[:, None], mass - mass[:, None])
        + spread(below[-1] - below, mass[-1] - mass)[None]
    )
    between[np.tril_indices(_BINS + 1)] = -1
    low, high = np.unravel_index(between.argmax(), between.shape)
    return 2 * int(low), 2 * int(high)
