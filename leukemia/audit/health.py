"""Whether a photograph is fit for use: focus, light, cells, and a scale bar burnt into it."""

import io
from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukemia.data.image.nuclei import Regions, corner, find_nuclei, outside_corner
from leukemia.data.image.preprocess import lab_histogram
from leukemia.data.image.scale_bar import find_scale_bar

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


Features = NDArray[np.float32]

CUES: Final = {
    "mean colour": "mean L, a, b outside the corner",
    "colour histogram": "32 bins of each of L, a, b outside the corner",
    "background": "the same histograms of the glass alone, cells and corner removed",
    "lower right corner": "the corner of the scale bar, as 14 x 9 pixels",
    "file": "size in bytes, width, height, JPEG quantisation tables",
}
"""The cues, and what each is made of."""

_CORNER: Final = (14, 9)  # width, height


def read_cues(data: bytes, rgb: NDArray[np.uint8], regions: Regions) -> dict[str, Features]:
    """Return the features of each of `CUES`.

    Args:
        data: the file.
        rgb: its picture, (H, W, 3), uint8.
        regions: of the picture.

    Returns:
        Vectors whose lengths are the same for all images.
    """
    lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), dtype=np.uint8)
    outside = lab[outside_corner(rgb.shape)]
    right = rgb[corner(rgb.shape)]
    if not right.size:  # in an image of a pixel or three
        right = rgb[-1:, -1:]
    small = cv2.resize(np.ascontiguousarray(right), _CORNER, interpolation=cv2.INTER_AREA)
    return {
        "mean colour": outside.mean(axis=0, dtype=np.float64).astype(np.float32),
        "colour histogram": lab_histogram(outside).astype(np.float32),
        "background": lab_histogram(lab[regions.background]).astype(np.float32),
        "lower right corner": small.ravel().astype(np.float32),
        "file": _file(data),
    }


def _file(data: bytes) -> Features:
    with Image.open(io.BytesIO(data)) as image:
        tables = getattr(image, "quantization", {})
        width, height = image.size
    steps = [tables.get(k, [0] * 64) for k in (0, 1)]
    return np.array([np.log(len(data)), width, height, *steps[0], *steps[1]], np.float32)
