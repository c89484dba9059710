"""From the settings ``data``, ``split`` and ``augment`` to objects."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig, OmegaConf

from leukemia.check import check_count
from leukemia.compose.classes import build_layout
from leukemia.compose.preprocess import build_classes, build_preprocess, cache_dir, find_root
from leukemia.data.augment import Augmenter, AugmentSpec
from leukemia.data.datamodule import EmbeddingDataModule, SmearDataModule
from leukemia.data.files.manifest import Manifest
from leukemia.data.split.grouped import check_fractions, grouped_split, kfold_split
from leukemia.data.split.groups import join_groups, related_groups
from leukemia.data.split.leaky import PooledDataModule
from leukemia.data.split.parts import Split, file_split
from leukemia.data.split.protocols import balance, paper_split, stratified_split
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
    told = build_layout(cfg).relates is not None  # a pattern that tells patients
    if split.name == "grouped" and cfg.data.get("groups") is None and not told:
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
        from leukemia.data.split.leaky import leaky_split  # the one that needs torch

        return leaky_split(
            manifest, groups, n_classes, seed=seed, test=split.test, fractions=fractions
        )
    make = grouped_split if split.name == "grouped" else stratified_split
    return make(manifest, groups, n_classes, seed=seed, fractions=fractions)


def _related(
    cfg: DictConfig, manifest: Manifest, identical: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the groups of ``data.groups``, else of file names, and of identical files, joined."""
    if cfg.data.get("groups") is None:  # runs from before that setting lack it
        return related_groups(manifest) if manifest.related else identical
    table = Path(str(cfg.data.groups)).expanduser()
    if cfg.split.name == "leaky":
        from leukemia.data.split.leaky import VIEWS, images_of

        return np.repeat(join_groups(images_of(manifest), table), len(VIEWS))
    return join_groups(manifest, table)


Sources = SmearDataModule | EmbeddingDataModule


def build_augmenter(cfg: DictConfig) -> Augmenter | None:
    """Return the training augmentation; ``None`` where nothing would happen."""
    values = dict(cfg.augment.spec)
    if OmegaConf.is_list(values["blur_sigma"]):
        values["blur_sigma"] = tuple(values["blur_sigma"])
    spec = AugmentSpec(**values)
    if spec == AugmentSpec():
        return None
    black = cfg.mask.order != "none" and cfg.mask.background == 0
    return Augmenter(spec, cfg.seed, border="black" if black else "reflect")


def build_data(cfg: DictConfig) -> Sources:
    """Return the data module of ``data=``; it has touched no disk but for painted smears."""
    classes, splitter = build_classes(cfg), build_splitter(cfg)
    if cfg.data.name == "embeddings":
        if cfg.split.name == "leaky":
            raise UserError("split=leaky pools views of images: data=embeddings has none.")
        if cfg.data.file is None:
            raise UserError("data=embeddings needs data.file=<a .npz with embeddings and files>.")
        return EmbeddingDataModule(
            Path(str(cfg.data.file)).expanduser(), classes, splitter, seed=cfg.seed
        )
    return (PooledDataModule if cfg.split.name == "leaky" else SmearDataModule)(
        find_root(cfg),
        classes,
        build_preprocess(cfg),
        splitter,
        cache_dir(cfg),
        layout=build_layout(cfg),
        on_bad=cfg.data.on_bad,
        workers=cfg.data.workers,
        verify=cfg.open_test,
        eval_batch_size=cfg.trainer.eval_batch_size,
        seed=cfg.seed,
        augment=build_augmenter(cfg),
        num_workers=cfg.trainer.num_workers,
    )
