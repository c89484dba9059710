"""What happens to an image once, before it is cached or judged."""

import json
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.check import check_choice, check_count
from leukemia.data.crop import MODES, shrink, to_square
from leukemia.data.mask import MaskSpec, apply_mask
from leukemia.data.normalise import Normaliser
from leukemia.data.scale_bar import check_treatment, remove_scale_bar
from leukemia.errors import UserError

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
        # What is not used leaves arrays their names from before it could be.
        if self.mask.order != "kmeans":
            del settings["mask"]["clusters"], settings["mask"]["nuclei"]
        if self.stain is None:
            del settings["stain"]
        else:
            settings["stain"]["method"] = self.stain.method
        if not self.grey:
            del settings["grey"]
        return json.dumps([FORMAT, settings])
