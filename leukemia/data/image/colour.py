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
    return lab_histogram(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), dtype=np.uint8))


def lab_histogram(lab: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the same of pixels in 8-bit LAB, shape ``(..., 3)``; zeros where there are none."""
    bins = (lab.reshape(-1, 3) // (256 // BINS)).T
    counts = np.concatenate([np.bincount(channel, minlength=BINS) for channel in bins])
    return counts / max(bins.shape[1], 1)


def channel_moments(
    images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of R, G and B over all pixels of some images.

    Args:
        images: shape ``(N, H, W, 3)``, uint8; read one at a time.
        rows: of the images.

    Returns:
        Both of pixels in [0, 1].
    """
    moments = np.array([cv2.meanStdDev(images[row]) for row in rows])[..., 0] / 255
    mean, std = moments[:, 0], moments[:, 1]
    variance = (std**2 + mean**2).mean(0) - mean.mean(0) ** 2
    return mean.mean(0).tolist(), np.sqrt(np.maximum(variance, 0)).tolist()


def mean_colour(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean of L, A and B in 8-bit LAB, shape ``(3,)``, of an image (H, W, 3)."""
    return np.array(cv2.mean(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))[:3])
