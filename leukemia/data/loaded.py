"""Another person's LightningDataModule, as this package trains, scores and opens again."""

import hashlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import cv2
import lightning as L
import numpy as np
import numpy.typing as npt
import torch

from leukemia.classes import Classes
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.files.manifest import Manifest
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.split.parts import PARTS, Split
from leukemia.disk import building
from leukemia.errors import UserError

_LOADERS: Final = {part: f"{part}_dataloader" for part in PARTS}


class LoadedDataModule(SmearDataModule):
    """A LightningDataModule of raw images, whose parts are its loaders.

    Each loader gives batches of images (N, 3, S, S), uint8, and labels (N,). What the loaders give
    once, under one seed, is kept as PNG files in the cache: so the guard finds an image that two
    parts share, and a finished run finds its images again. The stage ``finetune`` trains on the
    module's own training loader.

    Args:
        module: with ``train_dataloader``, ``val_dataloader`` and ``test_dataloader``.
        classes: the class scheme; a label is an index of its names.
        preprocess: must leave images of size S as they are.
        cache_dir: where the images are kept.
        **settings: see `SmearDataModule`.
    """

    def __init__(
        self,
        module: L.LightningDataModule,
        classes: Classes,
        preprocess: Preprocess,
        cache_dir: Path,
        **settings: Any,
    ) -> None:
        """Store the module; its loaders are not asked yet."""
        super().__init__(cache_dir, classes, preprocess, self._parts, cache_dir, **settings)
        self.module = module

    def prepare_data(self) -> None:
        """Ask the loaders once, and keep what they give."""
        if self.root != self.cache_dir:
            return
        self.module.prepare_data()
        self.module.setup("fit")
        self.module.setup("test")
        _seed(self.seed)
        found = [
            (f"{self.classes.names[label]}/{part}-{number:06d}.png", image)
            for part, name in _LOADERS.items()
            for number, (image, label) in enumerate(self._rows(name))
        ]
        self.root = _kept(found, self.cache_dir)
        super().prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Open what was kept, and divide it as the loaders did."""
        self.prepare_data()
        super().setup(stage)

    def train_dataloader(self) -> Any:  # noqa: ANN401
        """The module's own, in its own order and with its own augmentation."""
        rows = len(self.parts["train"]) + len(self.parts["val"])
        refit = len(self.parts["val"]) == 0 and rows > self._trained
        return super().train_dataloader() if refit else self.module.train_dataloader()

    @property
    def _trained(self) -> int:
        return sum("/train-" in file for file in self.manifest.files)

    def _rows(self, name: str) -> Iterable[tuple[npt.NDArray[np.uint8], int]]:
        size = self.preprocess.size
        for batch in getattr(self.module, name)():
            images, labels = batch[0], batch[1]
            if images.dtype != torch.uint8 or images.shape[1:] != (3, size, size):
                raise UserError(
                    f"Expected the batches of {type(self.module).__name__}.{name}() to hold raw "
                    f"images (N, 3, {size}, {size}) of uint8 (crop.size={size}), but got "
                    f"{tuple(images.shape)} of {str(images.dtype).removeprefix('torch.')}."
                )
            for image, label in zip(images, labels.tolist(), strict=True):
                if not 0 <= label < len(self.classes):
                    raise UserError(
                        f"{type(self.module).__name__}.{name}() gives the label {label}, but "
                        f"data.classes.names has {len(self.classes)} names."
                    )
                yield image.permute(1, 2, 0).numpy(), label

    @staticmethod
    def _parts(manifest: Manifest, groups: npt.NDArray[np.int64]) -> Split:
        part_of = [Path(file).name.partition("-")[0] for file in manifest.files]
        parts = {
            part: np.array([i for i, name in enumerate(part_of) if name == part], dtype=np.int64)
            for part in PARTS
        }
        return Split(parts, groups, protocol="loaders")


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # what a stranger's loader may draw from
    random.seed(seed)


def _kept(found: list[tuple[str, npt.NDArray[np.uint8]]], cache_dir: Path) -> Path:
    """Write images, RGB, into a folder of the cache that is named by their content."""
    digest = hashlib.sha256()
    for name, image in found:
        digest.update(name.encode() + image.tobytes())
    folder = cache_dir / f"loaded-{digest.hexdigest()[:32]}"
    if folder.is_dir():
        return folder
    try:
        with building(cache_dir) as beside:
            for name, image in found:
                path = beside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                _, data = cv2.imencode(".png", image[:, :, ::-1])
                path.write_bytes(data.tobytes())
            if not folder.is_dir():
                beside.rename(folder)
    except OSError as error:
        raise UserError(
            f"The cache '{cache_dir}' cannot be used ({error.strerror or error}): make room, or "
            f"set data.cache_dir to another folder."
        ) from error
    return folder
