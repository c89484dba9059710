"""Images that two collections share, also when renamed, re-encoded, mirrored or turned."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32  # pixels of a thumbnail
# Correlation of two thumbnails from which on they show the same field. Of the Aria data's files
# 401-500, masked, none is above 0.62 with any of 001-400, and a copy saved again at JPEG quality
# 50, the worst of 120, keeps 0.78.
SAME = 0.75
_BLOCK = 512  # rows at once; bounds the memory at a few times 512 x N numbers


def thumbnails(pixels: Iterable[NDArray[np.uint8]], *, side: int = SIDE) -> NDArray[np.uint8]:
    """Shrink images to grey thumbnails.

    Args:
        pixels: N images (H, W, 3), RGB; other shapes than squares are squashed.
        side: of a thumbnail, pixels.

    Returns:
        (N, side, side).
    """
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pixels)
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in grey]
    return np.array(small, dtype=np.uint8).reshape(-1, side, side)


def shared_images(
    ours: NDArray[np.uint8], theirs: NDArray[np.uint8], *, same: float = SAME
) -> list[tuple[int, int]]:
    """Find the thumbnails of one collection that another one holds too.

    Compared by correlation under the eight flips and quarter turns. A thumbnail of one grey
    value (an empty field, all masked) is like any other such and is passed over.

    Args:
        ours: (N, 32, 32).
        theirs: (M, 32, 32).
        same: correlation in (0, 1] from which on two thumbnails count as one image.

    Returns:
        For each of `ours` that is found: its row and that of its nearest in `theirs`.
    """
    if not len(theirs):
        return []
    other = _standardized(theirs).T
    pairs = []
    for start in range(0, len(ours), _BLOCK):
        block = ours[start : start + _BLOCK]
        sides = (block, block[:, :, ::-1])
        views = [np.rot90(side, turn, (1, 2)) for side in sides for turn in range(4)]
        best = np.max([_standardized(view) @ other for view in views], axis=0)
        nearest = best.argmax(axis=1)
        found = np.flatnonzero(best[np.arange(len(block)), nearest] >= same)
        pairs += [(start + int(i), int(nearest[i])) for i in found]
    return pairs


def _standardized(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    standardized: NDArray[np.float32] = np.divide(rows, norms, out=rows, where=norms > 0)
    return standardized
