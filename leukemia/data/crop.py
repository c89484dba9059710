"""Images of any size become square."""

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.mask import MaskSpec, stain_finder, stain_mask

MODES = ("square", "squash")


def to_square(
    rgb: NDArray[np.uint8], mode: str, spec: MaskSpec, size: int = 224
) -> NDArray[np.uint8]:
    """Crop and resize an image (paper section 3.2.1).

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8; one that is ``size`` square passes untouched.
        mode: ``square`` cuts the square that holds most stained pixels, without stretching;
            ``squash`` resizes both sides, as the published 224 x 224 files were made.
        spec: finds the stained pixels; for the order ``none``, its ranges as published.
        size: side of the result in pixels.

    Returns:
        Shape ``(size, size, 3)``, uint8.
    """
    if rgb.shape[:2] == (size, size):
        return rgb
    if mode == "square" and rgb.shape[0] != rgb.shape[1]:
        rgb = _window(rgb, stain_finder(spec))
    # In two steps: where one side shrinks and the other grows, a single call would not average.
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    resized = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def shrink(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an image whose shorter side is at most ``side``, and the image itself if it is."""
    height, width = rgb.shape[:2]
    if min(height, width) <= side:
        return rgb
    longer = -(-max(height, width) * side // min(height, width))  # rounded up
    size = (longer, side) if width > height else (side, longer)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _window(rgb: NDArray[np.uint8], spec: MaskSpec) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    side = min(height, width)
    along = 0 if width > height else 1
    stained = np.concatenate([[0], stain_mask(rgb, spec).sum(axis=along).cumsum()])
    inside = stained[side:] - stained[:-side]
    best = np.flatnonzero(inside == inside.max())
    # Of equally good windows the one nearest to the centre.
    start = int(best[np.argmin(np.abs(best - (len(inside) - 1) / 2))])
    return rgb[:, start : start + side] if along == 0 else rgb[start : start + side]
