"""What stain normalisation measures of a smear: its glass, its tissue and its two stains."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from leukemia.data.regions import find_regions, outside_corner

Image = NDArray[np.uint8]
Triple = tuple[float, float, float]

_LIGHT: Final = 50
"""Glass is at least this bright in every channel; a frame that is darker is none."""
_STAINED: Final = 0.1
"""Optical density, from the glass on, above which a pixel in any channel is tissue."""
_FEWEST: Final = 0.005
"""Least share of an image to be measured on."""
APART: Final = math.radians(5)
"""Least angle between two stains."""
THIN: Final = 0.02
"""Least concentration of a stain, as an optical density."""


def find_glass(rgb: Image) -> NDArray[np.float64] | None:
    """Return the colour of unstained glass, (3,): the median where an image is brightest.

    Args:
        rgb: an image, (H, W, 3), uint8.

    Returns:
        R, G, B; ``None`` where the brightest is dark, or too little to be measured on.
    """
    background = find_regions(rgb).background
    if background.mean() < _FEWEST:
        return None
    colour = np.median(rgb[background], axis=0)
    return colour if colour.min() >= _LIGHT else None


def find_tissue(rgb: Image, glass: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Return which pixels are darker than the glass, outside the corner of the scale bar, (H, W).

    Args:
        rgb: an image, (H, W, 3), uint8.
        glass: its glass, (3,).

    Returns:
        ``None`` where there is next to none.
    """
    tissue = (density_of(rgb, glass).max(axis=-1) > _STAINED) & outside_corner(rgb.shape)
    return tissue if tissue.mean() >= _FEWEST else None


def find_stains(
    rgb: Image,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the two stains that the tissue of an image is mixed of, as torchstain finds them.

    Args:
        rgb: an image, (H, W, 3), uint8.

    Returns:
        Glass (3,), stains (2, 3) of length 1, the one that takes more red first, and the 99th
        percentile of each one's concentration, (2,); ``None`` where there are not two.
    """
    # Here, for most runs need it not.
    from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

    glass = find_glass(rgb)
    tissue = None if glass is None else find_tissue(rgb, glass)
    if glass is None or tissue is None:
        return None
    light = np.exp(-density_of(rgb, glass)[tissue].astype(np.float64))
    torchstain = NumpyMacenkoNormalizer()
    # It would seek stains only where all channels are dark, as in sections stained with
    # haematoxylin and eosin: the nuclei of a smear take hardly any blue.
    torchstain.fit(light - 1, Io=1, beta=-np.inf)
    stains, concentrations = torchstain.HERef.T, torchstain.maxCRef
    usable = angle(stains) >= APART and concentrations.min() >= THIN
    return (glass, stains, concentrations) if usable else None


def density_of(rgb: Image, glass: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the optical density of each channel, (H, W, 3), 0 for glass.

    Args:
        rgb: an image, (H, W, 3), uint8.
        glass: its glass, (3,).
    """
    levels = (np.arange(256)[:, None] + 1) / (glass + 1)  # the 1 keeps black finite
    table = -np.log(levels).astype(np.float32)
    return np.stack([table[rgb[..., k], k] for k in range(3)], axis=-1)


def developed(density: NDArray[np.float32], glass: Triple) -> Image:
    """Return the image (H, W, 3) that has these densities before glass of this colour."""
    light = np.exp(-density) * (np.array(glass, np.float32) + 1)
    return to_bytes(light.astype(np.float32) - 1)


def to_bytes(values: npt.ArrayLike) -> Image:
    """Return values as whole ones from 0 to 255; those beyond are clipped."""
    rounded: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def angle(stains: NDArray[np.float64]) -> float:
    """Return the angle between two stains, (2, 3), in radians."""
    one, other = stains / np.maximum(np.linalg.norm(stains, axis=1, keepdims=True), 1e-9)
    return float(np.arccos(np.clip(one @ other, -1, 1)))
