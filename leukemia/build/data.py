"""From the settings ``data``, ``split`` and ``augment`` to objects."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig

from leukemia.build.preprocess import build_classes, build_preprocess
from leukemia.data.augment import Augmenter, AugmentSpec
from leukemia.data.datamodule import EmbeddingDataModule, SmearDataModule, Splitter
from leukemia.data.grouped import grouped_split, kfold_split
from leukemia.data.groups import join_groups
from leukemia.data.leaky import VIEWS, PooledDataModule, images_of, leaky_split
from leukemia.data.manifest import Manifest
from leukemia.data.parts import Split, file_split
from leukemia.data.split import balance, paper_split, stratified_split
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError

SPLITS = ("paper", "stratified", "grouped", "kfold", "file", "leaky")
Sources = SmearDataModule | EmbeddingDataModule


def cache_dir(cfg: DictConfig) -> Path:
    """Return the folder of ``data.cache_dir``."""
    return Path(str(cfg.data.cache_dir)).expanduser()


def build_splitter(cfg: DictConfig) -> Splitter:
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

    def splitter(manifest: Manifest, identical: npt.NDArray[np.int64]) -> Split:
        groups = _related(cfg, manifest, identical)
        parts = make_parts(split, manifest, identical, groups, n_classes=n_classes, seed=cfg.seed)
        if cfg.data.balance:
            parts = balance(parts, manifest, n_classes, cfg.seed)
        return replace(parts, protocol=split.name)

    return splitter


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
    fractions = tuple(split.fractions)
    if split.name == "leaky":
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
        return np.repeat(join_groups(images_of(manifest), table), len(VIEWS))
    return join_groups(manifest, table)


def build_augmenter(cfg: DictConfig) -> Augmenter | None:
    """Return the training augmentation; ``None`` where nothing would happen."""
    values = dict(cfg.augment.spec)
    values["blur_sigma"] = tuple(values["blur_sigma"])
    spec = AugmentSpec(**values)
    if spec == AugmentSpec():
        return None
    black = cfg.mask.order != "none" and cfg.mask.background == 0
    return Augmenter(spec, cfg.seed, border="black" if black else "reflect")


def find_root(cfg: DictConfig) -> Path:
    """Return the folder of images, painted first for ``data=synthetic``.

    Raises:
        UserError: no folder is named.
    """
    if cfg.data.name == "synthetic":
        folder = cache_dir(cfg) / f"synthetic-{cfg.data.per_class}-{cfg.data.paint_seed}"
        return paint_smears(folder, per_class=cfg.data.per_class, seed=cfg.data.paint_seed)
    if cfg.data.root is None:
        remedy = (
            "set LEUKEMIA_DATA or data.root to its folder (Kaggle 'mehradaria/leukemia', "
            "subfolder Original), or use data=synthetic"
            if cfg.data.name == "aria"
            else "set data.root to a folder with one subfolder a class"
        )
        raise UserError(f"data={cfg.data.name} has no images: {remedy}.")
    return Path(str(cfg.data.root)).expanduser()


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
        on_bad=cfg.data.on_bad,
        workers=cfg.data.workers,
        eval_batch_size=cfg.trainer.eval_batch_size,
        seed=cfg.seed,
        augment=build_augmenter(cfg),
        num_workers=cfg.trainer.num_workers,
    )
