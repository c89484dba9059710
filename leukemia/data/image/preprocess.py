"""What happens to an image once, before it is cached or judged."""

import json
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.image.mask import MaskSpec, apply_mask, stain_finder, stain_mask
from leukemia.data.image.scale_bar import check_treatment, remove_scale_bar
from leukemia.data.image.stain import Normaliser
from leukemia.errors import UserError, check_choice, check_count

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


LARGEST = 2048
"""The largest side: one batch of 64 takes 0.8 GB there, and its first features in a ResNet 17 GB
(float32)."""

FORMAT = 2  # raise it when the same settings come to mean other pixels


@dataclass(frozen=True)
class Preprocess:
    """What happens to an image once: freed of its scale bar, normalised, cropped, masked.

    Args:
        mask: which pixels are kept.
        crop: ``square`` or ``squash``.
        size: side of the result in pixels.
        scale_bar: ``keep``, or ``remove`` to paint it over, see `remove_scale_bar`.
        stain: gives each image the same stain or light before crop and mask look at its colours;
            ``None`` for none.
        grey: whether colour is taken away, after ``stain`` and before crop and mask.

    Raises:
        UserError: a size that is no whole number from 1 to `LARGEST`, an unknown ``crop`` or
            ``scale_bar``, or clusters of colour in grey.
    """

    mask: MaskSpec = field(default_factory=MaskSpec)
    crop: str = "square"
    size: int = 224
    scale_bar: str = "keep"
    stain: Normaliser | None = None
    grey: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_count("crop.size", self.size)
        if self.size > LARGEST:
            raise UserError(
                f"Expected crop.size to be at most {LARGEST} pixels, as a batch of larger images "
                f"fits no memory, but got {self.size}."
            )
        check_choice("crop.mode", self.crop, MODES)
        check_treatment(self.scale_bar)
        if self.grey and self.mask.order == "kmeans":
            raise UserError(
                "mask=kmeans finds nuclei by their colour, which stain.grey=true takes away: "
                "choose another mask."
            )

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pixels (size, size, 3) of an image (H, W, 3)."""
        return apply_mask(self.square(rgb), self.mask)

    def square(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same, not yet masked."""
        clean = remove_scale_bar(rgb) if self.scale_bar == "remove" else rgb
        return to_square(self._recoloured(clean), self.crop, self.mask, self.size)

    def _recoloured(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.stain is not None:
            # Colours are the same in small, and a large photograph would take gigabytes.
            rgb = self.stain(shrink(rgb, self.size))
        if self.grey:
            rgb = np.asarray(
                cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8
            )
        return rgb

    @property
    def key(self) -> str:
        """A text that differs where the pixels would."""
        settings = asdict(self)
        if type(self.mask) is not MaskSpec:  # one of the user's own
            settings["mask"]["class"] = f"{type(self.mask).__module__}.{type(self.mask).__name__}"
        # What is not used leaves arrays their names from before it could be.
        if self.mask.order != "kmeans":
            del settings["mask"]["clusters"], settings["mask"]["nuclei"]
        if self.stain is None:
            del settings["stain"]
        elif isinstance(settings["stain"], dict):
            settings["stain"]["method"] = self.stain.method
        else:  # one of the user's own
            settings["stain"] = repr(self.stain)
        if not self.grey:
            del settings["grey"]
        return json.dumps([FORMAT, settings])


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
