"""Nuclei, cells and glass; and the stain masks of the paper (section 3.2.1)."""

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.errors import UserError, check_choice, check_number, frozen

_TWO_GROUPS: Final = 0.78
"""Separability above which pixels are two groups, red cells and nuclei, and not one. Evenly
spread values have 0.75. Of 24 images of Aria et al. whose nuclei were found at once none had more
than 0.75, of five where red cells were taken too all but one had 0.8 or more."""


def find_nuclei(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the pixels of nuclei: those that are more magenta than the rest.

    Otsu's threshold on a* of LAB (doi:10.1109/TSMC.1979.4310076), and once more above it where
    what lies there is still two groups. The masks of the paper are no substitute: they keep grey
    red cells and leave out pink nuclei. Compared by eye only: there are no outlines to measure by.
    Platelets, stain debris, smudged cells and red letters are found as well; where red cells are
    pink with eosin, a single nucleus is not told from them.

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8.

    Returns:
        Shape ``(H, W)``; all False for an image of one colour.
    """
    smooth = cv2.GaussianBlur(rgb, (0, 0), rgb.shape[1] / 224)
    magenta = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)[..., 1].astype(np.uint8)
    threshold, _ = _otsu(magenta.ravel())
    above = magenta[magenta > threshold]
    if len(above):
        higher, separability = _otsu(above)
        threshold = higher if separability > _TWO_GROUPS else threshold
    return magenta > threshold


def _otsu(values: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the threshold and how much of the variance lies between its two sides, in [0, 1]."""
    threshold, _ = cv2.threshold(values[np.newaxis], 0, 255, cv2.THRESH_OTSU)
    above = values > threshold
    share = above.mean()
    if share in (0, 1):
        return float(values.max()), 0.0
    between = share * (1 - share) * (values[above].mean() - values[~above].mean()) ** 2
    return float(threshold), float(between / values.var())


_MOST: Final = 4096
"""Pixels that the clusters are made from, evenly spaced; all pixels are then given to them."""
_STOP: Final = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.1)
_STANDS_OUT: Final = 4
"""Least excess of nuclei over the median pixel in a* of 8-bit LAB. Of 651 images of Aria et al.
none had less than 7, and the noise of an empty field has about 1."""


def cluster_nuclei(rgb: NDArray[np.uint8], clusters: int, nuclei: int) -> NDArray[np.bool_]:
    """Find the pixels of the clusters of colour that are most magenta.

    k-means as in Sajjad et al. (doi:10.1109/ACCESS.2016.2636218), over a* and b*: with L*, red
    cells fall into the nuclei's cluster where the smear is pale. The first clusters are equal
    shares of the pixels in the order of a*, so there is no chance in it. On Aria et al. three
    clusters keep 0.94, 0.96, 0.85 and 0.94 of what `find_nuclei` finds (median image of Benign,
    Early, Pre, Pro), and hardly anything else.

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8.
        clusters: how many clusters of colour are made.
        nuclei: how many of them, the most magenta ones, are kept.

    Returns:
        Shape ``(H, W)``; all False where nothing stands out.
    """
    smooth = cv2.GaussianBlur(rgb, (0, 0), rgb.shape[1] / 224)
    colours = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)[..., 1:].reshape(-1, 2).astype(np.float32)
    drawn = np.ascontiguousarray(colours[:: -(-len(colours) // _MOST)])
    if len(drawn) < clusters:
        return np.zeros(rgb.shape[:2], dtype=np.bool_)
    first = np.empty((len(drawn), 1), dtype=np.int32)
    first[drawn[:, 0].argsort(kind="stable"), 0] = np.arange(len(drawn)) * clusters // len(drawn)
    _, _, centres = cv2.kmeans(drawn, clusters, first, _STOP, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    # The square of the distance without the part that is the same for all clusters.
    nearest = ((centres**2).sum(axis=1) - 2 * colours @ centres.T).argmin(axis=1)
    magenta = centres[:, 0].argsort(kind="stable")[-nuclei:]
    magenta = magenta[centres[magenta, 0] > np.median(drawn[:, 0]) + _STANDS_OUT]
    return np.asarray(np.isin(nearest, magenta).reshape(rgb.shape[:2]), dtype=np.bool_)


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


Range = tuple[tuple[int, int, int], tuple[int, int, int]]
"""A box in OpenCV's 8-bit LAB: (low, high), both ends inside, each channel in [0, 255]."""

PAPER_RANGES: Final[tuple[Range, ...]] = (
    ((130, 70, 215), (230, 170, 255)),  # pink
    ((90, 120, 100), (180, 200, 160)),  # blue
    ((100, 50, 100), (200, 150, 200)),  # purple
)
"""The three stains of the paper, section 3.2.1."""

# The paper read images as BGR and called them RGB, so red and blue trade places; on our RGB
# arrays `COLOR_BGR2LAB` makes the same exchange.
_CONVERSION: Final = {"published": cv2.COLOR_BGR2LAB, "lab": cv2.COLOR_RGB2LAB}


@dataclass(frozen=True)
class MaskSpec:
    """Which pixels a mask keeps.

    Args:
        order: ``published`` converts to LAB with red and blue swapped, as the paper's code did;
            ``lab`` converts with the channels in their true order; ``kmeans`` keeps the nuclei,
            see `cluster_nuclei`; ``none`` keeps every pixel.
        ranges: a pixel is kept when it lies in any of these boxes of 8-bit LAB.
        background: what is left of the other pixels' brightness, in [0, 1]; the paper left none.
        clusters: of ``kmeans``.
        nuclei: how many of these are kept.

    Raises:
        UserError: an unknown order, no range, a range that is not two triples of integers in
            [0, 255] with low <= high, a background outside [0, 1], or clusters that cannot be.
    """

    order: str = "published"
    ranges: tuple[Range, ...] = PAPER_RANGES
    background: float = 0.0
    clusters: int = 3
    nuclei: int = 1

    def __post_init__(self) -> None:
        """Refuse a mask that could not be drawn."""
        object.__setattr__(self, "ranges", frozen(self.ranges))
        check_choice("mask.order", self.order, (*_CONVERSION, "kmeans", "none"))
        if not isinstance(self.ranges, tuple) or not self.ranges:
            raise UserError(
                f"Expected mask.ranges to hold at least one range, but got {self.ranges!r}; "
                f"mask.order=none keeps every pixel."
            )
        for index, box in enumerate(self.ranges):
            _check_range(index, box)
        wanted = "between 0 (black) and 1 (untouched)"
        check_number("mask.background", self.background, wanted, lambda value: 0 <= value <= 1)
        _check_count("clusters", self.clusters, 2, 16)
        _check_count("nuclei", self.nuclei, 1, self.clusters - 1)

    def kept(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which pixels (H, W) of an image (H, W, 3), uint8, are kept.

        A mask of your own is a frozen dataclass below this one, with another such method.
        """
        if self.order == "none":
            return np.ones(rgb.shape[:2], dtype=np.bool_)
        if self.order == "kmeans":
            return cluster_nuclei(rgb, self.clusters, self.nuclei)
        lab = cv2.cvtColor(rgb, _CONVERSION[self.order])
        kept = np.zeros(rgb.shape[:2], dtype=np.bool_)
        for low, high in self.ranges:
            kept |= cv2.inRange(lab, np.array(low), np.array(high)) > 0
        return kept


def _check_count(name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise UserError(
            f"Expected mask.{name} to be a whole number from {low} to {high}, but got {value!r}."
        )


def _check_range(index: int, box: Range) -> None:
    # The values come from a user's config, so their types are not yet known to be right.
    corners = [c if isinstance(c, tuple) else () for c in box] if isinstance(box, tuple) else []
    whole = len(corners) == 2 and all(
        len(c) == 3 and all(type(v) is int and 0 <= v <= 255 for v in c) for c in corners
    )
    if not whole or any(low > high for low, high in zip(*box, strict=True)):
        raise UserError(
            f"Expected mask.ranges[{index}] to be (low, high), two triples of integers from 0 "
            f"to 255 with low <= high in each channel, but got {box}."
        )


def stain_finder(spec: MaskSpec) -> MaskSpec:
    """Return the mask that finds stained pixels: where there are no ranges, that of ``published``.

    The clusters of ``kmeans`` cannot say whether a field shows cells at all.
    """
    return spec if spec.order in _CONVERSION else replace(spec, order="published")


def stain_mask(rgb: NDArray[np.uint8], spec: MaskSpec) -> NDArray[np.bool_]:
    """Find the pixels that a mask keeps.

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8.
        spec: the ranges and the order of the channels.

    Returns:
        Shape ``(H, W)``: True where a pixel is kept; all True for the order ``none``.
    """
    return spec.kept(rgb)


def apply_mask(rgb: NDArray[np.uint8], spec: MaskSpec) -> NDArray[np.uint8]:
    """Darken everything but the stained pixels, to black by default.

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8; it is not changed.
        spec: the ranges and the order of the channels.

    Returns:
        A new image, shape ``(H, W, 3)``, uint8.
    """
    return darken(rgb, stain_mask(rgb, spec), spec.background)


def darken(rgb: NDArray[np.uint8], kept: NDArray[np.bool_], background: float) -> NDArray[np.uint8]:
    """Darken what is not kept; see `apply_mask`.

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8; it is not changed.
        kept: the pixels that stay, ``(H, W)``.
        background: see `MaskSpec`.
    """
    dimmed = np.round(np.arange(256) * background).astype(np.uint8)
    # By OpenCV, which takes a fifth of numpy's time here.
    masked = cv2.LUT(rgb, dimmed)
    cv2.copyTo(rgb, kept.astype(np.uint8), masked)
    return np.asarray(masked, dtype=np.uint8)
