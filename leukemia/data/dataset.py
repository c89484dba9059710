"""Rows of an array as batches whose content depends only on seed, epoch and row."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from leukemia.data.augment import Augmenter

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
