"""What an image says without any shape: its colours, counted over all pixels."""

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 32


def colour_histogram(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of pixels in each bin of L, A and B.

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8.

    Returns:
        Shape ``(96,)``: 32 bins of equal width a channel of 8-bit LAB, each channel summing to 1.
    """
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    counts = [cv2.calcHist([lab], [channel], None, [BINS], [0, 256]) for channel in range(3)]
    shares: NDArray[np.float64] = np.concatenate(counts).ravel() / np.float64(rgb[..., 0].size)
    return shares


def mean_colour(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean of L, A and B in 8-bit LAB, shape ``(3,)``, of an image (H, W, 3)."""
    return np.array(cv2.mean(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))[:3])
