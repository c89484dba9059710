"""Lightning data modules: arrays in parts, and the folders or files they come from."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from leukemia.classes import Classes
from leukemia.data.augment import Augmenter
from leukemia.data.cache import open_pixels, read_embeddings
from leukemia.data.files.folders import FOLDERS, Layout
from leukemia.data.files.manifest import Manifest, build_manifest
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.split.groups import identical_groups
from leukemia.data.split.guard import check_split
from leukemia.data.split.parts import Split

Key = tuple[int, int]
Batch = tuple[torch.Tensor, torch.Tensor]


class Batches(Sampler[list[Key]]):
    """Batches of keys (epoch, row): the epoch travels with the key into any worker.

    Args:
        rows: the rows of one part, (n,).
        batch_size: rows a batch.
        shuffle: a new order each epoch, fixed by ``seed`` and the epoch.
        seed: any integer.
    """

    def __init__(
        self, rows: npt.NDArray[np.int64], batch_size: int, *, shuffle: bool, seed: int
    ) -> None:
        """Store the settings."""
        self.rows, self.batch_size, self.shuffle, self.seed = rows, batch_size, shuffle, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch to draw next; Lightning calls it, also after a resume."""
        self.epoch = epoch

    @property
    def _kept(self) -> int:
        # A last training batch of one row has no batch statistics: BatchNorm refuses it.
        lonely = self.shuffle and len(self.rows) > 1 and len(self.rows) % self.batch_size == 1
        return len(self.rows) - int(lonely)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-self._kept // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the batches of the current epoch."""
        rows = self.rows
        if self.shuffle:
            rows = np.random.default_rng([self.seed, 1, self.epoch]).permutation(rows)
        for start in range(0, self._kept, self.batch_size):
            chosen = rows[start : min(start + self.batch_size, self._kept)]
            yield [(self.epoch, int(row)) for row in chosen]


class Rows(Dataset[Batch]):
    """A table of images or embeddings that answers a whole batch of keys at once.

    Args:
        array: uint8 images (N, H, W, 3), which come out as (B, 3, H, W), or float32
            embeddings (N, d), which come out as (B, d).
        labels: (N,).
        augment: applied to each image; ``None`` leaves the rows as they are.
    """

    def __init__(
        self,
        array: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        augment: Augmenter | None = None,
    ) -> None:
        """Store the table."""
        self.array, self.labels, self.augment = array, labels, augment

    def __getitem__(self, keys: list[Key]) -> Batch:
        """Return inputs and labels of one batch."""
        rows = np.array([row for _, row in keys])
        batch = np.asarray(self.array[rows])
        if self.augment is not None:
            batch = np.stack([self.augment(x, *key) for x, key in zip(batch, keys, strict=True)])
        inputs = torch.from_numpy(batch)
        if inputs.ndim == 4:
            inputs = inputs.permute(0, 3, 1, 2)
        return inputs, torch.from_numpy(self.labels[rows])


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

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Those of the test part, in order, untouched."""
        return self.loader("test")


class SmearDataModule(ArrayDataModule):
    """A folder of smears, masked and cropped into a cache, split into parts.

    Args:
        root: the folder, one subfolder a class or as the layout says.
        classes: the class scheme.
        preprocess: mask, crop and size.
        splitter: makes the parts from the manifest and its groups.
        cache_dir: where manifests and pixels are kept between runs.
        layout: how the files tell their classes.
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
        root: str | Path,
        classes: Classes,
        preprocess: Preprocess,
        splitter: Splitter,
        cache_dir: str | Path,
        *,
        layout: Layout = FOLDERS,
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
        self.root, self.classes, self.preprocess = Path(root), classes, preprocess
        self.splitter, self.cache_dir, self.layout = splitter, Path(cache_dir), layout
        self.on_bad, self.workers, self.verify = on_bad, workers, verify

    def _scan(self) -> Manifest:
        verify, self.verify = self.verify, False
        return build_manifest(
            self.root,
            self.classes,
            layout=self.layout,
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
        file: str | Path,
        classes: Classes,
        splitter: Splitter,
        *,
        batch_size: int = 256,
        eval_batch_size: int = 1024,
        seed: int = 0,
    ) -> None:
        """Store the settings; touches no disk."""
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        self.file, self.classes, self.splitter = Path(file).expanduser(), classes, splitter

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


SHARED = Path("/dev/shm")
AHEAD = 2  # batches that torch lets each loader process prepare
_ALSO_HELD = 2  # batches on their way, or in use


def fit_workers(data: ArrayDataModule, batch_size: int = 0) -> None:
    """Load in this process where the batches of loader processes would not find room, and say so.

    They hand batches over in shared memory. Where it is used up the system kills them, and what
    waits for them may wait for ever. Containers often have 64 MB of it.

    Args:
        data: set up; its ``num_workers`` may become 0, which changes no batch.
        batch_size: rows of the largest training batch; 0 where nothing is trained.
    """
    if data.num_workers == 0 or data.array is None or not SHARED.is_dir():
        return
    one = int(np.prod(data.array.shape[1:])) * data.array.dtype.itemsize
    # The processes of training stay while as many load validation.
    rows = (batch_size + data.eval_batch_size) * data.num_workers * AHEAD
    rows += _ALSO_HELD * max(batch_size, data.eval_batch_size)
    needed = min(rows, len(data.array)) * one
    free = shutil.disk_usage(SHARED).free
    if needed > free:
        print(
            f"runtime.num_workers={data.num_workers} would take {needed / 2**20:.0f} MB of shared "
            f"memory, and {SHARED} has {free / 2**20:.0f} MB free: images are loaded in this "
            f"process. (`docker run --shm-size` gives a container more.)",
            file=sys.stderr,
        )
        data.num_workers = 0
