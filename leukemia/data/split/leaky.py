"""The paper's pooling of augmented views before the split, only to measure what it does.

For fine-tuning, the published code put five views of each image into one pool and split that at
random: nearly every validation item had a sibling in training (paper section 3.2.2, and the
authors' code).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leukemia.data.augment import paper_views
from leukemia.data.cache import open_blocks
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.files.manifest import Manifest
from leukemia.data.split.grouped import POOLED, stream
from leukemia.data.split.groups import by_content, identical_groups
from leukemia.data.split.parts import PARTS, Split
from leukemia.data.split.protocols import paper_split, stratified_split
from leukemia.errors import UserError

VIEWS = ("", "#flipped", "#upside down", "#rotated", "#blurred")
"""What follows a file's name in the manifest of views, in the order of `paper_views`."""


class PooledDataModule(SmearDataModule):
    """A folder of smears as five views of every image, each in a row of its own."""

    def _scan(self) -> Manifest:
        return pool_views(super()._scan())

    def _open(self, manifest: Manifest) -> NDArray[np.uint8]:
        images = images_of(manifest)
        pixels = super()._open(images)

        def make(row: int) -> NDArray[np.uint8]:
            # One seed for all runs: the views are as good as files.
            return paper_views(pixels[row], 0, row)

        key = "\n".join(["five views", self.preprocess.key, *images.sha256])
        shape = (len(VIEWS), self.preprocess.size, self.preprocess.size, 3)
        return open_blocks(key, make, len(images), shape, self.cache_dir, workers=self.workers)


def pool_views(manifest: Manifest) -> Manifest:
    """Return five rows for each image of a manifest, with its sha256 and a name for each view."""
    rows = np.repeat(np.arange(len(manifest)), len(VIEWS))
    files = tuple(file + view for file in manifest.files for view in VIEWS)
    return replace(manifest.take(rows), files=files)


def images_of(manifest: Manifest) -> Manifest:
    """Return the manifest that `pool_views` was given."""
    return manifest.take(np.arange(0, len(manifest), len(VIEWS)))


def leaky_split(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    test: str = "pooled",
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
) -> Split:
    """Split views at random by class, whichever image they show.

    Args:
        manifest: the views, as `pool_views` returns them.
        groups: group ids of the views; told to the guard, and otherwise ignored.
        n_classes: number of classes.
        seed: any integer from 0 on.
        test: ``pooled`` draws the test part from the pool too; ``paper`` takes the test images of
            split=paper as they are and pools the views of its other images, three quarters of
            them for training, as published.
        fractions: of train, val and test under ``pooled``.

    Returns:
        Parts that share images; only the protocol ``leaky`` passes the guard with them.

    Raises:
        UserError: a bad setting, or what `paper_split` or `stratified_split` refuse.
    """
    apart = np.arange(len(manifest))
    if test == "pooled":
        split = stratified_split(manifest, apart, n_classes, seed=seed, fractions=fractions)
        return replace(split, groups=groups)
    if test != "paper":
        raise UserError(f"Expected split.test to be pooled or paper, but got '{test}'.")
    images = images_of(manifest)
    clean = paper_split(images, identical_groups(images.sha256), n_classes, seed=seed)
    both = np.union1d(clean.parts["train"], clean.parts["val"])
    pool = (len(VIEWS) * both[:, None] + np.arange(len(VIEWS))).ravel()
    train: list[int] = []
    for label in range(n_classes):
        rows = by_content(pool[manifest.labels[pool] == label], manifest)
        drawn = stream(seed, POOLED, label).permutation(rows)
        train += drawn[: round(0.75 * len(drawn))].tolist()
    rows_of = {
        "train": np.array(sorted(train), dtype=np.int64),
        "val": np.setdiff1d(pool, train),
        "test": len(VIEWS) * clean.parts["test"],
    }
    return Split({part: rows_of[part] for part in PARTS}, groups, clean.notes)
