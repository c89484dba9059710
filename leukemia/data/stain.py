"""Stain densities of a smear, changed one by one."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.tissue import to_bytes

_STAINS: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical density in R, G and B of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001)."""

_DENSITY: Final = -np.log((np.arange(256) + 1) / 256).astype(np.float32)
"""Optical density of each 8-bit value; the 1 keeps black finite."""


def scale_stains(rgb: NDArray[np.uint8], factors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Multiply the density of each stain, as in HED augmentation (doi:10.1016/j.media.2019.101544).

    Args:
        rgb: an image, shape ``(H, W, 3)``, uint8.
        factors: of haematoxylin, eosin and DAB, shape ``(3,)``; ones change nothing.

    Returns:
        A new image, shape ``(H, W, 3)``, uint8.
    """
    # Separating, scaling and mixing again is one linear map of the densities.
    mixed = (np.linalg.inv(_STAINS) * factors @ _STAINS).astype(np.float32)
    density = cv2.transform(_DENSITY[rgb], mixed.T)
    return to_bytes(256 * cv2.exp(-density) - 1)
