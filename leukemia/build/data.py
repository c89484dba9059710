"""From the settings ``data``, ``split`` and ``augment`` to objects."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig

from leukemia.build.preprocess import build_classes, build_preprocess
from leukemia.data.augment import Augmenter, AugmentSpec
from leukemia.data.datamodule import EmbeddingDataModule, SmearDataModule, Splitter
from leukemia.data.manifest import Manifest
from leukemia.data.split import Split, balance, paper_split, stratified_split
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError

Sources = SmearDataModule | EmbeddingDataModule


def cache_dir(cfg: DictConfig) -> Path:
    """Return the folder of ``data.cache_dir``."""
    return Path(str(cfg.data.cache_dir)).expanduser()


def build_splitter(cfg: DictConfig) -> Splitter:
    """Return the function that makes the parts (``split=``, ``data.balance``)."""
    n_classes, split = len(cfg.data.classes.names), cfg.split

    def splitter(manifest: Manifest, groups: npt.NDArray[np.int64]) -> Split:
        if split.name == "paper":
            parts = paper_split(
                manifest,
                groups,
                n_classes,
                seed=cfg.seed,
                validation=split.validation,
                block_start=split.block_start,
                n_val=split.n_val,
            )
        else:
            parts = stratified_split(
                manifest, groups, n_classes, seed=cfg.seed, fractions=tuple(split.fractions)
            )
        return balance(parts, manifest, n_classes, cfg.seed) if cfg.data.balance else parts

    return splitter


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
        if cfg.data.file is None:
            raise UserError("data=embeddings needs data.file=<a .npz with embeddings and files>.")
        return EmbeddingDataModule(
            Path(str(cfg.data.file)).expanduser(), classes, splitter, seed=cfg.seed
        )
    return SmearDataModule(
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
