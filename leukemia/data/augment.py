"""Augmentation of training images; the only module that knows albumentations."""

import hashlib
import math
import os
import random
from dataclasses import dataclass
from typing import Any, Final

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.image.stain import to_bytes
from leukemia.errors import UserError, frozen

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


# It would otherwise look for updates online at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


PROBABILITIES = (
    "hflip",
    "vflip",
    "quarter_turns",
    "rotation_p",
    "blur_p",
    "jitter_p",
    "grey_p",
)
# The largest values that still mean something; a zoom to nothing would leave no image.
_TOPS = {
    **{"hue": 0.5, "rotation": 180.0, "scale": 0.9, "hed": 1.0},
    **{"brightness": 10.0, "contrast": 10.0, "saturation": 10.0},
    **{"blur_kernel": 99, "blur_sigma": 100.0},
}
TRANSFORMS = (A.BasicTransform, A.BaseCompose)
"""What a transform of albumentations is."""
BORDERS = {"black": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}


@dataclass(frozen=True)
class AugmentSpec:
    """What may happen to a training image; all off by default.

    Args:
        hflip: probability of a horizontal flip.
        vflip: probability of a vertical flip.
        quarter_turns: probability of a turn by 0, 90, 180 or 270 degrees.
        rotation: largest angle, degrees.
        rotation_p: probability of rotation and zoom.
        blur_p: probability of a Gaussian blur.
        blur_kernel: its side, pixels, odd.
        blur_sigma: its lowest and highest standard deviation, pixels.
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        hue: largest shift, as a share of the colour circle, at most 0.5.
        jitter_p: probability of the four changes of colour.
        scale: largest relative zoom, below 1.
        hed: largest relative change of the density of each stain (haematoxylin, eosin, DAB),
            drawn for every image.
        grey_p: probability of grey.

    Raises:
        UserError: a value out of range.
    """

    hflip: float = 0.0
    vflip: float = 0.0
    quarter_turns: float = 0.0
    rotation: float = 0.0
    rotation_p: float = 0.5
    blur_p: float = 0.0
    blur_kernel: int = 3
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter_p: float = 0.0
    scale: float = 0.0
    hed: float = 0.0
    grey_p: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could not be drawn."""
        object.__setattr__(self, "blur_sigma", frozen(self.blur_sigma))
        for name, value in vars(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers):
                raise UserError(f"Expected augment.spec.{name} to be a number, but got {value!r}.")
            top = 1.0 if name in PROBABILITIES else _TOPS.get(name, math.inf)
            if any(not 0 <= v <= top for v in numbers):
                raise UserError(
                    f"Expected augment.spec.{name} to be from 0 to {top:g}, but got {value!r}."
                )
        if not isinstance(self.blur_kernel, int) or self.blur_kernel % 2 != 1:
            raise UserError(
                f"Expected augment.spec.blur_kernel to be an odd integer, "
                f"but got {self.blur_kernel!r}."
            )
        sigma = self.blur_sigma
        if not isinstance(sigma, tuple) or len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise UserError(
                f"Expected augment.spec.blur_sigma to be two numbers above 0, the lower first, "
                f"but got {sigma!r}."
            )


class Augmenter:
    """Applies a spec so that the result depends on seed, epoch and row alone.

    Args:
        spec: what may happen; or any transform of albumentations.
        seed: any integer.
        border: what a rotation leaves in the corners: ``black``, as in a masked image, or
            ``reflect``.
    """

    def __init__(
        self,
        spec: AugmentSpec | A.BasicTransform | A.BaseCompose,
        seed: int,
        *,
        border: str = "black",
    ) -> None:
        """Build the pipeline.

        Raises:
            UserError: another kind of augmentation.
        """
        if not isinstance(spec, (AugmentSpec, *TRANSFORMS)):
            raise UserError(
                f"Expected augment.spec to be an AugmentSpec, or a transform of albumentations, "
                f"but got a {type(spec).__name__}."
            )
        self.seed = seed
        own = isinstance(spec, AugmentSpec)
        self.pipeline = A.Compose(_steps(spec, BORDERS[border]) if own else [spec])

    def __call__(self, image: NDArray[np.uint8], epoch: int, index: int) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) as row ``index`` sees it in ``epoch``."""
        # Set for every image: albumentations ignores global seeds, and forked workers would
        # otherwise all draw the same. A state is shared by the steps; a seed would be given to
        # each of them, and they would all draw alike: every horizontal flip a vertical one too.
        seed = _mixed(self.seed, epoch, index)
        self.pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        augmented: NDArray[np.uint8] = self.pipeline(image=image)["image"]
        return augmented


def paper_views(image: NDArray[np.uint8], seed: int, index: int) -> NDArray[np.uint8]:
    """Return the paper's five views of an image (section 3.2.2).

    Args:
        image: shape ``(H, W, 3)``, uint8.
        seed: any integer.
        index: the image's row; with the seed it fixes angle and blur.

    Returns:
        Shape ``(5, H, W, 3)``: as it is, flipped horizontally, flipped vertically, rotated by
        up to 180 degrees, blurred (3 x 3, standard deviation 0.1 to 2.0 pixels).
    """
    once: list[Any] = [
        A.Rotate(limit=(-180, 180), border_mode=cv2.BORDER_CONSTANT, p=1),
        A.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.1, 2.0), p=1),
    ]
    views = [image, image[:, ::-1], image[::-1]]
    for number, step in enumerate(once):
        pipeline = A.Compose([step], seed=_mixed(seed, number, index))
        views.append(pipeline(image=image)["image"])
    return np.stack(views)


class _StainJitter(A.ImageOnlyTransform):  # type: ignore[misc]  # it comes without types
    def __init__(self, largest: float) -> None:
        super().__init__(p=1.0)
        self.largest = largest

    def get_params(self) -> dict[str, Any]:
        return {"factors": 1 + self.random_generator.uniform(-self.largest, self.largest, 3)}

    def apply(
        self, img: NDArray[np.uint8], factors: NDArray[np.float64], **_: Any
    ) -> NDArray[np.uint8]:
        return scale_stains(img, factors)


def _mixed(*numbers: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest())


def _steps(spec: AugmentSpec, border: int) -> list[Any]:
    steps: list[Any] = []
    if spec.hflip:
        steps.append(A.HorizontalFlip(p=spec.hflip))
    if spec.vflip:
        steps.append(A.VerticalFlip(p=spec.vflip))
    if spec.quarter_turns:
        steps.append(A.RandomRotate90(p=spec.quarter_turns))
    if spec.rotation or spec.scale:
        steps.append(
            A.Affine(
                rotate=(-spec.rotation, spec.rotation),
                scale=(1 - spec.scale, 1 + spec.scale),
                keep_ratio=True,  # or each side would have a zoom of its own
                border_mode=border,
                p=spec.rotation_p,
            )
        )
    if spec.blur_p:
        steps.append(
            A.GaussianBlur(
                blur_limit=(spec.blur_kernel, spec.blur_kernel),
                sigma_limit=spec.blur_sigma,
                p=spec.blur_p,
            )
        )
    if spec.jitter_p and (spec.brightness or spec.contrast or spec.saturation or spec.hue):
        steps.append(
            A.ColorJitter(
                brightness=spec.brightness,
                contrast=spec.contrast,
                saturation=spec.saturation,
                hue=spec.hue,
                p=spec.jitter_p,
            )
        )
    if spec.hed:
        steps.append(_StainJitter(spec.hed))
    if spec.grey_p:
        steps.append(A.ToGray(p=spec.grey_p))
    return steps
