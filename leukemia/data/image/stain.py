"""Stain normalisation: every image as if it had been stained, lit and photographed like one other.

The targets are fixed numbers of the settings and are fitted on no image that is scored. Each of
these is called with an image (H, W, 3), uint8, RGB, and returns a new one, or the same array where
the image lacks what it measures: glass, tissue, two stains.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from leukemia.data.image.mask import find_regions, outside_corner
from leukemia.errors import UserError, check_choice, frozen

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


TARGETS: Final[dict[str, tuple[Triple, Triple]]] = {
    "tissue": ((77.94, 5.39, -20.06), (8.75, 11.74, 13.8)),
    "all": ((87.8, 1.46, -9.66), (12.11, 9.2, 14.76)),
}
"""Mean and deviation of L (0 to 100), a, b of the data set's training images."""
PIXELS: Final = tuple(TARGETS)

_SPREAD: Final = 0.5
"""Least deviation in LAB; a field of one colour has less."""


class Normaliser(Protocol):
    """What `Background`, `Reinhard` and `Macenko` are."""

    method: ClassVar[str]

    def __call__(self, rgb: Image) -> Image:
        """Return the normalised image, or the same array."""


@dataclass(frozen=True)
class Background:
    """Divides by the glass: brightness and white balance no longer count, the stain still does.

    Args:
        glass: what an image's own glass becomes, R, G, B from 1 to 255.

    Raises:
        UserError: it is no such colour.
    """

    method: ClassVar[str] = "background"
    glass: Triple

    def __post_init__(self) -> None:
        """Refuse what is no colour."""
        object.__setattr__(self, "glass", frozen(self.glass))
        _check_numbers("glass", self.glass, 3, 1, 255)

    def __call__(self, rgb: Image) -> Image:
        """Return the normalised image."""
        glass = find_glass(rgb)
        return rgb if glass is None else developed(density_of(rgb, glass), self.glass)


@dataclass(frozen=True)
class Reinhard:
    """Gives an image a fixed mean and deviation in CIELAB (doi:10.1109/38.946629).

    Args:
        mean: of L (0 to 100), a, b; ``None`` for that of the data set's tissue, or of all its
            pixels.
        std: deviations, likewise.
        glass: what the image's own glass becomes before that; ``None`` leaves it as it is.
        pixels: where an image's own are measured: ``tissue``, what is darker than the glass,
            without the corner of the scale bar; or ``all``, which takes a field with few cells
            for a pale one. All pixels are moved.

    Raises:
        UserError: they are no such numbers.
    """

    method: ClassVar[str] = "reinhard"
    mean: Triple | None = None
    std: Triple | None = None
    glass: Triple | None = None
    pixels: str = "tissue"

    def __post_init__(self) -> None:
        """Refuse what could not be a target."""
        check_choice("stain.pixels", self.pixels, PIXELS)
        mean, std = TARGETS[self.pixels]
        object.__setattr__(self, "mean", frozen(mean if self.mean is None else self.mean))
        object.__setattr__(self, "std", frozen(std if self.std is None else self.std))
        object.__setattr__(self, "glass", frozen(self.glass))
        _check_numbers("mean", self.mean, 3, -128, 128)
        _check_numbers("std", self.std, 3, _SPREAD, 128)
        if self.glass is not None:
            _check_numbers("glass", self.glass, 3, 1, 255)

    def __call__(self, rgb: Image) -> Image:
        """Return the normalised image."""
        glass = find_glass(rgb)
        if glass is None:
            return rgb
        where = find_tissue(rgb, glass) if self.pixels == "tissue" else np.True_
        if where is None:
            return rgb
        anchored = rgb if self.glass is None else developed(density_of(rgb, glass), self.glass)
        lab = to_lab(anchored)
        measured = lab[where].reshape(-1, 3)
        if measured.std(axis=0).min() < _SPREAD:
            return rgb
        return from_lab(transfer(lab, measured, np.asarray(self.mean), np.asarray(self.std)))


@dataclass(frozen=True)
class Macenko:
    """Finds an image's two stains and exchanges them (doi:10.1109/ISBI.2009.5193250).

    Optical densities are counted from the image's own glass on.

    Args:
        stains: two directions of optical density in R, G, B; scaled to length 1.
        concentrations: the 99th percentile of each on tissue.
        glass: what the image's own glass becomes.

    Raises:
        UserError: they are no such numbers.
    """

    method: ClassVar[str] = "macenko"
    stains: tuple[Triple, Triple]
    concentrations: tuple[float, float]
    glass: Triple

    def __post_init__(self) -> None:
        """Refuse what could not be a target."""
        for key in ("stains", "concentrations", "glass"):
            object.__setattr__(self, key, frozen(getattr(self, key)))
        stains = self.stains if isinstance(self.stains, tuple) else ()
        for row, stain in enumerate(stains):
            _check_numbers(f"stains[{row}]", stain, 3, -1, 1)
        if len(stains) != 2 or angle(np.array(self.stains)) < APART:
            raise UserError(f"Expected stain.stains to be two directions, but got {self.stains}.")
        _check_numbers("concentrations", self.concentrations, 2, THIN, 10)
        _check_numbers("glass", self.glass, 3, 1, 255)

    def __call__(self, rgb: Image) -> Image:
        """Return the normalised image."""
        found = find_stains(rgb)
        if found is None:
            return rgb
        glass, stains, concentrations = found
        target = np.array(self.stains)
        target /= np.linalg.norm(target, axis=1, keepdims=True)
        # Unmixing, scaling and mixing again is one linear map of the densities.
        scaled = np.array(self.concentrations) / concentrations
        mixed = (np.linalg.pinv(stains) * scaled @ target).astype(np.float32)
        density = np.asarray(cv2.transform(density_of(rgb, glass), mixed.T), np.float32)
        return developed(density, self.glass)


def to_lab(rgb: Image) -> NDArray[np.float32]:
    """Return an image in CIELAB: L from 0 to 100."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab, dtype=np.float32)


def from_lab(lab: NDArray[np.float32]) -> Image:
    """Return an image from CIELAB; colours out of reach are clipped."""
    light = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
    return to_bytes(255 * light.astype(np.float32))


def transfer(
    lab: NDArray[np.float32],
    measured: NDArray[np.float32],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Move all pixels as some of them must be to have a mean and deviation (Reinhard et al. 2001).

    Args:
        lab: an image in CIELAB, (H, W, 3).
        measured: pixels of it, (N, 3).
        mean: what theirs shall be, (3,).
        std: likewise.
    """
    own_mean = measured.mean(axis=0, dtype=np.float64)
    own_std = measured.std(axis=0, dtype=np.float64) + 1e-3  # a channel of one value stays one
    moved: NDArray[np.float32] = ((lab - own_mean) / own_std * std + mean).astype(np.float32)
    return moved


def _check_numbers(name: str, values: object, n: int, low: float, high: float) -> None:
    # They come from a user's config, so their types are not yet known to be right.
    listed = values if isinstance(values, tuple) else ()
    good = all(type(v) in (int, float) and low <= v <= high for v in listed)
    if len(listed) != n or not good:
        raise UserError(
            f"Expected stain.{name} to be {n} numbers from {low:g} to {high:g}, but got {values}."
        )
