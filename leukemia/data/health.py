"""Whether a photograph is fit for use: focus, light, cells, and a scale bar burnt into it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.nuclei import find_nuclei
from leukemia.data.regions import Regions
from leukemia.data.scale_bar import find_scale_bar

STYLES: Final = ("none", "red", "black", "box", "large box")
"""Scale bars: none, red ink, black ink on the smear, black ink on a white box, low or high."""

_CLIPPED: Final = 3  # values from either end of 0 to 255 that hold no detail
_NUCLEUS: Final = 50  # least area in pixels of an image 224 wide; platelets and debris are smaller
_DARK: Final = 0.65
_STAINED: Final = (0.85, 20)
"""A nucleus is darker in green than a share of the background; a pale one less so, but then it is
more magenta (a* of 8-bit LAB), which red cells are not."""

_SCARLET: Final = (75, 5)  # by how much red exceeds green in red ink, and in how many pixels
_LARGE: Final = 0.1  # of the image's height


class Health(NamedTuple):
    """What one image is like.

    Args:
        blur: variance of the Laplacian of grey values; low where nothing is sharp
            (doi:10.1016/j.patcog.2012.11.011).
        under: share of pixels with a channel clipped at black, in [0, 1].
        over: share of pixels with all channels clipped at white, in [0, 1].
        nuclei: how many nuclei were found, touching ones as one.
        bar: row of `STYLES`.
    """

    blur: float
    under: float
    over: float
    nuclei: int
    bar: int


def examine(rgb: NDArray[np.uint8], regions: Regions) -> Health:
    """Measure an image; a scale bar counts for nothing but its style.

    Args:
        rgb: (H, W, 3), uint8.
        regions: of the same image.
    """
    bar = find_scale_bar(rgb)
    kept = ~bar
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_32F)[cv2.erode(kept.astype(np.uint8), np.ones((3, 3))) > 0]
    pixels = rgb[kept]
    return Health(
        blur=float(edges.var()) if len(edges) else 0.0,
        under=float((pixels.min(axis=1) <= _CLIPPED).mean()) if len(pixels) else 0.0,
        over=float((pixels.min(axis=1) >= 255 - _CLIPPED).mean()) if len(pixels) else 0.0,
        nuclei=_count_nuclei(rgb, regions, bar),
        bar=_style(rgb, bar),
    )


def _count_nuclei(rgb: NDArray[np.uint8], regions: Regions, bar: NDArray[np.bool_]) -> int:
    if not regions.background.any():
        return 0
    # Otsu's threshold parts even an empty field, into noise and noise.
    magenta = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[..., 1].astype(np.int16)
    green = rgb[..., 1] / np.median(rgb[..., 1][regions.background])
    pale, more = _STAINED
    excess = magenta - np.median(magenta[regions.background])
    stained = (green < _DARK) | ((green < pale) & (excess > more))
    nuclei = (find_nuclei(rgb) & stained & ~bar).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(nuclei)
    return int((stats[1:, cv2.CC_STAT_AREA] >= _NUCLEUS * (rgb.shape[1] / 224) ** 2).sum())


def _style(rgb: NDArray[np.uint8], bar: NDArray[np.bool_]) -> int:
    if not bar.any():
        return STYLES.index("none")
    pixels = rgb[bar].astype(np.int16)
    excess, area = _SCARLET
    if (pixels[:, 0] - pixels[:, 1] > excess).sum() >= area * (rgb.shape[1] / 224) ** 2:
        return STYLES.index("red")
    if (pixels.min(axis=1) >= 240).mean() < 0.25:
        return STYLES.index("black")
    rows = np.flatnonzero(bar.any(axis=1))
    large = rows[-1] - rows[0] + 1 > _LARGE * rgb.shape[0]
    return STYLES.index("large box" if large else "box")


def unfit(
    found: Sequence[Health], *, blur: float = 3.5, exposure: float = 0.2
) -> dict[str, list[int]]:
    """Return the rows of the images that somebody should look at, by what is wrong.

    Args:
        found: of N images.
        blur: an image is blurred where the logarithm of its `Health.blur` lies this many robust
            standard deviations (1.4826 times the median deviation) below the median.
        exposure: share of clipped pixels from which on an image is under- or over-exposed.
    """
    sharp = np.log(np.array([max(one.blur, 1e-6) for one in found]))
    middle = np.median(sharp)
    deviation = max(1.4826 * float(np.median(np.abs(sharp - middle))), 1e-6)
    wrong = {
        "blurred": sharp < middle - blur * deviation,
        "under-exposed": [one.under >= exposure for one in found],
        "over-exposed": [one.over >= exposure for one in found],
        "no nucleus found": [one.nuclei == 0 for one in found],
    }
    return {what: np.flatnonzero(rows).tolist() for what, rows in wrong.items()}
