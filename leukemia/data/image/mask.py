"""Stain masks: which pixels of a smear are kept (paper section 3.2.1)."""

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.check import check_choice, check_number, frozen
from leukemia.data.image.nuclei import cluster_nuclei
from leukemia.errors import UserError

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
