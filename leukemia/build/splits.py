"""From the settings ``split``, ``data.groups`` and ``data.balance`` to parts; without torch."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig

from leukemia.check import check_count
from leukemia.data.draw import check_fractions
from leukemia.data.grouped import grouped_split, kfold_split
from leukemia.data.groups import join_groups
from leukemia.data.manifest import Manifest
from leukemia.data.parts import Split, file_split
from leukemia.data.split import balance, paper_split, stratified_split
from leukemia.errors import UserError

if TYPE_CHECKING:
    from leukemia.data.datamodule import Splitter

MOST_FOLDS = 1000
SPLITS = ("paper", "stratified", "grouped", "kfold", "file", "leaky")


def build_splitter(cfg: DictConfig) -> "Splitter":
    """Return the function that makes the parts (``split=``, ``data.groups``, ``data.balance``).

    Raises:
        UserError: an unknown split, or one that lacks its table.
    """
    n_classes, split = len(cfg.data.classes.names), cfg.split
    if split.name not in SPLITS:
        raise UserError(f"Expected split to be one of {', '.join(SPLITS)}, but got '{split.name}'.")
    if split.name == "grouped" and cfg.data.get("groups") is None:
        raise UserError(
            "split=grouped needs data.groups=<a CSV with the columns file, group>: the patients "
            "where they are known, else the groups.csv that `python -m leukemia.audit` writes."
        )
    if split.name == "file" and split.file is None:
        raise UserError("split=file needs split.file=<a CSV with the columns file, part>.")

    check_split(split)

    def splitter(manifest: Manifest, identical: npt.NDArray[np.int64]) -> Split:
        groups = _related(cfg, manifest, identical)
        parts = make_parts(split, manifest, identical, groups, n_classes=n_classes, seed=cfg.seed)
        if cfg.data.balance:
            parts = balance(parts, manifest, n_classes, cfg.seed)
        return replace(parts, protocol=split.name)

    return splitter


def check_split(split: DictConfig) -> None:
    """Refuse what no images would allow.

    Raises:
        UserError: a setting of a split that cannot be.
    """
    if split.get("fractions") is not None:
        check_fractions(split.fractions)
    if split.name == "kfold":
        check_count("split.folds", split.folds, 3, MOST_FOLDS)
        check_count("split.fold", split.fold, 0, split.folds - 1)
    if split.name == "paper":
        check_count("split.n_val", split.n_val)
        check_count("split.block_start", split.block_start)


def make_parts(
    split: DictConfig,
    manifest: Manifest,
    identical: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    *,
    n_classes: int,
    seed: int,
) -> Split:
    """Make the parts of one of `SPLITS`.

    Args:
        split: its settings.
        manifest: the N images.
        identical: groups of identical files, (N,).
        groups: the same joined with related images, (N,).
        n_classes: number of classes.
        seed: of the draw.

    Raises:
        UserError: a bad setting, or a split that these images do not allow.
    """
    if split.name == "paper":
        # Published by file number: it keeps copies apart, and the guard tells of related images.
        parts = paper_split(
            manifest,
            identical,
            n_classes,
            seed=seed,
            validation=split.validation,
            block_start=split.block_start,
            n_val=split.n_val,
        )
        return replace(parts, groups=groups)
    if split.name == "kfold":
        return kfold_split(
            manifest, groups, n_classes, seed=seed, folds=split.folds, fold=split.fold
        )
    if split.name == "file":
        return file_split(manifest, groups, Path(str(split.file)).expanduser())
    check_fractions(split.fractions)
    fractions = tuple(split.fractions)
    if split.name == "leaky":
        from leukemia.data.leaky import leaky_split  # the one that needs torch

        return leaky_split(
            manifest, groups, n_classes, seed=seed, test=split.test, fractions=fractions
        )
    make = grouped_split if split.name == "grouped" else stratified_split
    return make(manifest, groups, n_classes, seed=seed, fractions=fractions)


def _related(
    cfg: DictConfig, manifest: Manifest, identical: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the groups of ``data.groups`` and of identical files, joined."""
    if cfg.data.get("groups") is None:  # runs from before that setting lack it
        return identical
    table = Path(str(cfg.data.groups)).expanduser()
    if cfg.split.name == "leaky":
        from leukemia.data.leaky import VIEWS, images_of

        return np.repeat(join_groups(images_of(manifest), table), len(VIEWS))
    return join_groups(manifest, table)
