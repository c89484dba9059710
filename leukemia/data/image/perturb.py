"""Changes of a smear that leave its cells' shape alone: what another stain or camera would give.

Each is a function of an image, a number that says how much, and a generator from which the
direction is drawn where there are two.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from leukemia.data.image.scale_bar import remove_scale_bar
from leukemia.data.image.stain import from_lab, to_bytes, to_lab, transfer

Image = NDArray[np.uint8]
Apply = Callable[[Image, float, np.random.Generator, Image], Image]

MODERATE: Final = (1, 2, 3)
"""The strengths, of 1 to 5, that are the moderate half: another day in the same laboratory."""


@dataclass(frozen=True)
class Perturbation:
    """One kind of change at five strengths.

    Args:
        says: what the numbers are.
        values: how much at strengths 1 to 5.
        apply: takes an image (H, W, 3), a value, a generator for the direction, and a donor,
            another image; returns a new image of the same shape.
    """

    says: str
    values: tuple[float, float, float, float, float]
    apply: Apply

    def __call__(self, rgb: Image, strength: int, seed: tuple[int, ...], donor: Image) -> Image:
        """Return the changed image.

        Args:
            rgb: an image, shape ``(H, W, 3)``, uint8.
            strength: 1 to 5.
            seed: fixes the direction, which does not depend on the strength.
            donor: another image, whose colours are given; of another acquisition where these are
                known.
        """
        rng = np.random.default_rng(seed)
        return self.apply(rgb, self.values[strength - 1], rng, donor)


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _hue(rgb: Image, degrees: float, rng: np.random.Generator, _: Image) -> Image:
    hsv = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + _sign(rng) * degrees) % 360
    return to_bytes(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _grey_of(rgb: Image) -> NDArray[np.float64]:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64)[..., None]


def _saturation(rgb: Image, change: float, rng: np.random.Generator, _: Image) -> Image:
    grey = _grey_of(rgb)
    return to_bytes(grey + (1 + _sign(rng) * change) * (rgb - grey))


def _grey(rgb: Image, share: float, _: np.random.Generator, __: Image) -> Image:
    return to_bytes((1 - share) * rgb + share * _grey_of(rgb))


def _brightness(rgb: Image, factor: float, _: np.random.Generator, __: Image) -> Image:
    return to_bytes(rgb * factor)


def _contrast(rgb: Image, change: float, rng: np.random.Generator, _: Image) -> Image:
    mean = rgb.mean()
    return to_bytes(mean + (1 + _sign(rng) * change) * (rgb - mean))


def _white_balance(rgb: Image, change: float, rng: np.random.Generator, _: Image) -> Image:
    tilt = _sign(rng) * change
    return to_bytes(rgb * np.array([1 + tilt, 1.0, 1 - tilt]))


def _transfer(rgb: Image, share: float, _: np.random.Generator, donor: Image) -> Image:
    lab, target = to_lab(rgb), to_lab(donor).reshape(-1, 3)
    moved = transfer(lab, lab.reshape(-1, 3), target.mean(axis=0), target.std(axis=0))
    return from_lab(((1 - share) * lab + share * moved).astype(np.float32))


def _jpeg(rgb: Image, quality: float, _: np.random.Generator, __: Image) -> Image:
    data = io.BytesIO()
    PIL.Image.fromarray(rgb).save(data, "JPEG", quality=int(quality))
    return np.asarray(PIL.Image.open(data))


def _blur(rgb: Image, sigma: float, _: np.random.Generator, __: Image) -> Image:
    # Given for 224 pixels: a larger photograph is blurred as much where it is looked at.
    return to_bytes(cv2.GaussianBlur(rgb, (0, 0), sigma * min(rgb.shape[:2]) / 224))


def _noise(rgb: Image, deviation: float, rng: np.random.Generator, _: Image) -> Image:
    return to_bytes(rgb + deviation * rng.standard_normal(rgb.shape))


def _scale_bar(rgb: Image, share: float, _: np.random.Generator, __: Image) -> Image:
    return to_bytes((1 - share) * rgb + share * remove_scale_bar(rgb))


STAIN: Final[dict[str, Perturbation]] = {
    "darker": Perturbation("brightness times", (0.92, 0.84, 0.76, 0.68, 0.6), _brightness),
    "brighter": Perturbation("brightness times", (1.08, 1.16, 1.24, 1.32, 1.4), _brightness),
    "contrast": Perturbation(
        "contrast times 1 plus or minus", (0.1, 0.2, 0.3, 0.4, 0.5), _contrast
    ),
    "white balance": Perturbation(
        "red and blue times 1 plus or minus, against each other",
        (0.04, 0.08, 0.12, 0.16, 0.2),
        _white_balance,
    ),
    "hue": Perturbation("hue turned by plus or minus, degrees", (6, 12, 18, 27, 36), _hue),
    "saturation": Perturbation(
        "saturation times 1 plus or minus", (0.12, 0.24, 0.36, 0.48, 0.6), _saturation
    ),
    "grey": Perturbation("share of grey mixed in", (0.2, 0.4, 0.6, 0.8, 1.0), _grey),
    "stain": Perturbation(
        "share of the way to another image's mean and deviation in LAB (Reinhard)",
        (0.2, 0.4, 0.6, 0.8, 1.0),
        _transfer,
    ),
    "jpeg": Perturbation("JPEG quality", (80, 60, 40, 25, 10), _jpeg),
    "blur": Perturbation(
        "deviation of a Gaussian, pixels of 224", (0.5, 0.8, 1.2, 1.8, 2.5), _blur
    ),
    "noise": Perturbation("deviation, grey levels", (3, 6, 10, 16, 25), _noise),
    "scale bar": Perturbation("share of it painted over", (0.2, 0.4, 0.6, 0.8, 1.0), _scale_bar),
}
"""The suite ``stain``: name -> perturbation, from the mildest strength to the strongest."""
