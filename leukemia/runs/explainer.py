"""Explains single images with a finished run: where it looks, and what lies there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.classes import Classes
from leukemia.data.files.images import BadImage
from leukemia.data.files.inputs import Image, prepare
from leukemia.data.image.mask import apply_mask, find_nuclei, stain_finder, stain_mask
from leukemia.errors import UserError
from leukemia.models.explanation import grad_cam, last_map, occlusion
from leukemia.report.attention import METHODS, Attention, Look, divide, gather, make_regions
from leukemia.runs.finished import FinishedRun


@dataclass(frozen=True)
class Explained:
    """One image and its maps.

    Args:
        picture: the image as cropped for the network, but not masked, (size, size, 3), RGB.
        maps: by method, (size, size); the mass above 0 is what speaks for the target.
        regions: as `make_regions` returns them.
    """

    picture: NDArray[np.uint8]
    maps: dict[str, NDArray[np.float32]]
    regions: dict[str, NDArray[np.bool_]]


class Explainer:
    """Makes the heat maps of a run's decisions, of the image as it is (no test-time views).

    Args:
        finished: the run.
        target: what the maps shall explain: ``predicted``, the predicted class; ``cancer``, all
            cancerous classes against the benign ones, where there are such; or a class by its name.
        methods: some of `METHODS`.
        patch: side of Occlusion's patch in pixels of a 224-pixel image, scaled to the run's size.
        stride: its step, likewise; at most ``patch``.

    Raises:
        UserError: the run takes no images, an unknown target, or a patch or stride out of range.
    """

    def __init__(
        self,
        finished: FinishedRun,
        *,
        target: str = "predicted",
        methods: Sequence[str] = tuple(METHODS),
        patch: int = 32,
        stride: int = 32,
    ) -> None:
        """Check the settings and find the layer for Grad-CAM."""
        self.network, self.preprocess = finished.network, finished.preprocess
        self.classes, self.methods = finished.classes, tuple(methods)
        self.half = finished.hardware.half
        self.target = None if target == "predicted" else _target(target, self.classes)
        for key, value, most in (("patch", patch, 224), ("stride", stride, patch)):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise UserError(
                    f"Expected {key} to be a whole number from 1 to {most}, but got {value!r}."
                )
        size = self.preprocess.size
        self.patch, self.stride = (max(1, round(n * size / 224)) for n in (patch, stride))
        self.layer = last_map(self.network, size) if "grad_cam" in methods else None

    def pictures(self, images: Sequence[Image]) -> Iterator[NDArray[np.uint8] | BadImage]:
        """Yield each image cropped for the network, but not masked, or why it cannot be used."""
        # A mask that dims nothing still places the crop.
        unmasked = replace(self.preprocess.mask, background=1.0)
        return prepare(images, replace(self.preprocess, mask=unmasked))

    def pixels(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the network sees of a picture, (size, size, 3)."""
        return apply_mask(picture, self.preprocess.mask)

    def explain(self, picture: NDArray[np.uint8], probabilities: NDArray[np.float64]) -> Explained:
        """Make the maps of one picture.

        Args:
            picture: as `pictures` yields it.
            probabilities: what the run says of it, (C,).
        """
        target = self.target or (int(probabilities.argmax()),)
        pixels = self.pixels(picture)
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        mask = self.preprocess.mask
        shown = stain_finder(mask) if mask.order == "none" else mask
        nuclei, kept = find_nuclei(picture), stain_mask(picture, shown)
        maps = {}
        for method in self.methods:
            if self.layer is not None and method == "grad_cam":
                found = grad_cam(self.network, self.layer, image, target)
            else:
                # Covered by what lies between the cells: black or grey would be a new object.
                empty = ~(nuclei | kept)
                fill = np.median(pixels[empty] if empty.any() else pixels.reshape(-1, 3), axis=0)
                found = occlusion(
                    self.network,
                    image,
                    target,
                    fill=fill.tolist(),
                    patch=self.patch,
                    stride=self.stride,
                    half=self.half,
                )
            maps[method] = found.numpy()
        return Explained(picture, maps, make_regions(nuclei, kept))


def attention(
    explainer: Explainer,
    images: Sequence[Image],
    probabilities: NDArray[np.float64],
    *,
    progress: bool = False,
) -> Attention:
    """Return how the maps of N images are divided among nuclei, background and corner.

    On one core an image takes 0.06 s by Grad-CAM and one second by occlusion (ResNet18).

    Args:
        explainer: of the run.
        images: N files or arrays; one that cannot be used has nan everywhere.
        probabilities: what the run says of them, (N, C).
        progress: show a bar, where stderr is a terminal.
    """
    pairs = tqdm(
        zip(explainer.pictures(images), probabilities, strict=True),
        "explaining",
        len(images),
        leave=False,
        disable=None if progress else True,
        unit="image",
    )
    looks: list[Look | None] = []
    for picture, row in pairs:
        if isinstance(picture, BadImage):
            looks.append(None)
        else:
            explained = explainer.explain(picture, row)
            looks.append(divide(explained.maps, explained.regions))
    return gather(looks, explainer.methods)


def _target(name: str, classes: Classes) -> tuple[int, ...]:
    if name == "cancer" and classes.has_cancer:
        return tuple(map(classes.names.index, classes.cancers))
    if name not in classes.names:
        cancer = ("cancer",) if classes.has_cancer else ()
        known = ", ".join(("predicted", *cancer, *classes.names))
        raise UserError(f"Expected target to be one of {known}, but got '{name}'.")
    return (classes.names.index(name),)
