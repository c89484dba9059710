"""Lightning data modules: arrays in parts, and the folders or files they come from."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import lightning as L
import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader

from leukemia.classes import Classes
from leukemia.data.augment import Augmenter
from leukemia.data.cache import open_pixels
from leukemia.data.dataset import Batch, Batches, Rows
from leukemia.data.embeddings import read_embeddings
from leukemia.data.groups import identical_groups
from leukemia.data.guard import check_split
from leukemia.data.manifest import Manifest, build_manifest
from leukemia.data.parts import Split
from leukemia.data.preprocess import Preprocess

LONGEST = 600
"""Seconds to wait for a batch of a loader process, which may have been lost."""

Splitter = Callable[[Manifest, npt.NDArray[np.int64]], Split]
Array = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class ArrayDataModule(L.LightningDataModule):
    """Loaders over one array and the rows of each part.

    Args:
        array: (N, H, W, 3) uint8 images or (N, d) float32 embeddings.
        labels: (N,) class indices.
        parts: rows of the array by part: train, val, test.
        batch_size: rows a training batch.
        eval_batch_size: rows a batch elsewhere.
        seed: fixes order and augmentation.
        augment: applied to training images only.
        num_workers: loader processes.
        sources: (N,) which image a row shows; ``None`` where each shows one of its own.
    """

    def __init__(
        self,
        array: Array | None = None,
        labels: npt.NDArray[np.int64] | None = None,
        parts: dict[str, npt.NDArray[np.int64]] | None = None,
        *,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        seed: int = 0,
        augment: Augmenter | None = None,
        num_workers: int = 0,
        sources: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Store the settings; touches no disk."""
        super().__init__()
        self.sources = sources
        self.array, self.labels, self.parts = array, labels, parts or {}
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed, self.augment, self.num_workers = seed, augment, num_workers

    @property
    def embed_dim(self) -> int | None:
        """Size d of a row, where the rows are embeddings; ``None`` where they are images."""
        if self.array is None:
            raise RuntimeError("Expected setup() to be called before the rows are looked at.")
        return self.array.shape[1] if self.array.ndim == 2 else None

    def training_rows(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
        """Return array (n, d), labels (n,) and sources (n,) of the training part of embeddings."""
        if self.array is None or self.labels is None:
            raise RuntimeError("Expected setup() to be called before the rows are looked at.")
        rows = self.parts["train"]
        sources = None if self.sources is None else self.sources[rows]
        return np.asarray(self.array[rows], np.float32), self.labels[rows], sources

    def loader(self, part: str, *, train: bool = False) -> DataLoader[Batch]:
        """Return the loader of a part; ``train`` shuffles and augments."""
        if self.array is None or self.labels is None:
            raise RuntimeError("Expected setup() to be called before a loader is asked for.")
        batches = Batches(
            self.parts[part],
            self.batch_size if train else self.eval_batch_size,
            shuffle=train,
            seed=self.seed,
        )
        return DataLoader(
            Rows(self.array, self.labels, self.augment if train else None),
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            timeout=LONGEST if self.num_workers else 0,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled and augmented."""
        return self.loader("train", train=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """In order, untouched."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """In order, untouched."""
        return self.loader("test")


class SmearDataModule(ArrayDataModule):
    """A folder of smears, masked and cropped into a cache, split into parts.

    Args:
        root: the folder, one subfolder a class.
        classes: the class scheme.
        preprocess: mask, crop and size.
        splitter: makes the parts from the manifest and its groups.
        cache_dir: where manifests and pixels are kept between runs.
        on_bad: ``error`` or ``skip``, see `build_manifest`.
        workers: threads that prepare images; ``None`` for one a core.
        verify: hash every file once, see `build_manifest`: where the test part is opened.
        batch_size: see `ArrayDataModule`.
        eval_batch_size: see `ArrayDataModule`.
        seed: see `ArrayDataModule`.
        augment: see `ArrayDataModule`.
        num_workers: see `ArrayDataModule`.
    """

    manifest: Manifest
    split: Split

    def __init__(
        self,
        root: Path,
        classes: Classes,
        preprocess: Preprocess,
        splitter: Splitter,
        cache_dir: Path,
        *,
        on_bad: str = "error",
        workers: int | None = None,
        verify: bool = False,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        seed: int = 0,
        augment: Augmenter | None = None,
        num_workers: int = 0,
    ) -> None:
        """Store the settings; touches no disk."""
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            augment=augment,
            num_workers=num_workers,
        )
        self.root, self.classes, self.preprocess = root, classes, preprocess
        self.splitter, self.cache_dir = splitter, cache_dir
        self.on_bad, self.workers, self.verify = on_bad, workers, verify

    def _scan(self) -> Manifest:
        verify, self.verify = self.verify, False
        return build_manifest(
            self.root,
            self.classes,
            on_bad=self.on_bad,
            cache_dir=self.cache_dir,
            workers=self.workers,
            verify=verify,
        )

    def _open(self, manifest: Manifest) -> npt.NDArray[np.uint8]:
        return open_pixels(
            self.root, manifest, self.preprocess, self.cache_dir, workers=self.workers
        )

    def prepare_data(self) -> None:
        """Read every file once and build the cache, where that was not done before."""
        self._open(self._scan())

    def setup(self, stage: str | None = None) -> None:
        """Open the cache and split it.

        Raises:
            UserError: for a bad folder, a bad file or a split that leaks.
        """
        if self.array is not None:
            return
        self.manifest = self._scan()
        groups = identical_groups(self.manifest.sha256)
        self.split = check_split(self.splitter(self.manifest, groups), self.manifest)
        self.parts, self.labels = self.split.parts, self.manifest.labels
        self.array = self._open(self.manifest)

    def pixels(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return all images (N, size, size, 3) and labels (N,); `setup` must have run."""
        if self.array is None or self.labels is None or self.array.dtype != np.uint8:
            raise RuntimeError("Expected setup() to be called before pixels are asked for.")
        return cast(npt.NDArray[np.uint8], self.array), self.labels


class EmbeddingDataModule(ArrayDataModule):
    """Embeddings made elsewhere, split by the names and numbers of their files.

    Args:
        file: a ``.npz``, see `read_embeddings`.
        classes: the class scheme.
        splitter: makes the parts from the manifest and its groups.
        batch_size: see `ArrayDataModule`.
        eval_batch_size: see `ArrayDataModule`.
        seed: see `ArrayDataModule`.
    """

    manifest: Manifest
    split: Split

    def __init__(
        self,
        file: Path,
        classes: Classes,
        splitter: Splitter,
        *,
        batch_size: int = 256,
        eval_batch_size: int = 1024,
        seed: int = 0,
    ) -> None:
        """Store the settings; touches no disk."""
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        self.file, self.classes, self.splitter = file, classes, splitter

    def setup(self, stage: str | None = None) -> None:
        """Read and split the file.

        Raises:
            UserError: for a bad file or a split that leaks.
        """
        if self.array is not None:
            return
        self.array, self.manifest = read_embeddings(self.file, self.classes)
        groups = identical_groups(self.manifest.sha256)
        self.split = check_split(self.splitter(self.manifest, groups), self.manifest)
        self.parts, self.labels = self.split.parts, self.manifest.labels
