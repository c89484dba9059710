"""Stain normalisation: every image as if it had been stained, lit and photographed like one other.

The targets are fixed numbers of the settings and are fitted on no image that is scored. Each of
these is called with an image (H, W, 3), uint8, RGB, and returns a new one, or the same array where
the image lacks what it measures: glass, tissue, two stains.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.tissue import (
    APART,
    THIN,
    Image,
    Triple,
    angle,
    density_of,
    developed,
    find_glass,
    find_stains,
    find_tissue,
    to_bytes,
)
from leukemia.errors import UserError

PIXELS: Final = ("tissue", "all")

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
        glass: what an image's own glass becomes, R, G, B from above 0 to 255.

    Raises:
        UserError: it is no such colour.
    """

    method: ClassVar[str] = "background"
    glass: Triple

    def __post_init__(self) -> None:
        """Refuse what is no colour."""
        _check_numbers("glass", self.glass, 3, 1, 255)

    def __call__(self, rgb: Image) -> Image:
        """Return the normalised image."""
        glass = find_glass(rgb)
        return rgb if glass is None else developed(density_of(rgb, glass), self.glass)


@dataclass(frozen=True)
class Reinhard:
    """Gives an image a fixed mean and deviation in CIELAB (doi:10.1109/38.946629).

    Args:
        mean: of L (0 to 100), a, b.
        std: deviations, likewise, above 0.
        glass: what the image's own glass becomes before that; ``None`` leaves it as it is.
        pixels: where an image's own are measured: ``tissue``, what is darker than the glass,
            without the corner of the scale bar; or ``all``, which takes a field with few cells
            for a pale one. All pixels are moved.

    Raises:
        UserError: they are no such numbers.
    """

    method: ClassVar[str] = "reinhard"
    mean: Triple
    std: Triple
    glass: Triple | None = None
    pixels: str = "tissue"

    def __post_init__(self) -> None:
        """Refuse what could not be a target."""
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
        return from_lab(transfer(lab, measured, np.array(self.mean), np.array(self.std)))


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
        for row, stain in enumerate(self.stains):
            _check_numbers(f"stains[{row}]", stain, 3, -1, 1)
        if len(self.stains) != 2 or angle(np.array(self.stains)) < APART:
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
