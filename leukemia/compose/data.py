"""From the settings ``data``, ``split`` and ``augment`` to objects."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig, OmegaConf

from leukemia.compose.preprocess import (
    build_classes,
    build_layout,
    build_preprocess,
    cache_dir,
    find_root,
)
from leukemia.data.augment import Augmenter, AugmentSpec
from leukemia.data.datamodule import ArrayDataModule, EmbeddingDataModule, SmearDataModule
from leukemia.data.files.manifest import Manifest
from leukemia.data.loaded import LoadedDataModule
from leukemia.data.split.grouped import check_fractions
from leukemia.data.split.groups import join_groups, related_groups
from leukemia.data.split.leaky import PooledDataModule
from leukemia.data.split.parts import Split
from leukemia.data.split.protocols import balance
from leukemia.errors import UserError, check_count
from leukemia.settings.objects import call, make, prepare, target_of
from leukemia.settings.schema import TARGET

if TYPE_CHECKING:
    from leukemia.data.datamodule import Splitter


MOST_FOLDS = 1000


def build_splitter(cfg: DictConfig) -> "Splitter":
    """Return the function that makes the parts (``split=``, ``data.groups``, ``data.balance``).

    Raises:
        UserError: no such split, or one that lacks its table.
    """
    n_classes, split = len(cfg.data.classes.names), cfg.split
    told = build_layout(cfg).relates is not None  # a pattern that tells patients
    if split.name == "grouped" and cfg.data.get("groups") is None and not told:
        raise UserError(
            "split=grouped needs data.groups=<a CSV with the columns file, group>: the patients "
            "where they are known, else the groups.csv that `python -m leukemia.audit` writes."
        )
    if "file" in split and split.file is None:
        raise UserError("split=file needs split.file=<a CSV with the columns file, part>.")

    check_split(split)

    def splitter(manifest: Manifest, identical: npt.NDArray[np.int64]) -> Split:
        groups = _related(cfg, manifest, identical)
        parts = make_parts(split, manifest, identical, groups, n_classes=n_classes, seed=cfg.seed)
        if cfg.data.get("balance"):
            parts = balance(parts, manifest, n_classes, cfg.seed)
        return replace(parts, protocol=split.name)

    return splitter


def check_split(split: DictConfig) -> None:
    """Refuse what no images would allow.

    Raises:
        UserError: a setting of a split that cannot be.
    """
    prepare(split, "split", own=("name",))
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
    """Make the parts by ``split``.

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
    made = make(
        split,
        "split",
        Split,
        own=("name",),
        manifest=manifest,
        identical=identical,
        groups=groups,
        n_classes=n_classes,
        seed=seed,
    )
    # Also where the parts go by file number alone: the guard tells of related images.
    return replace(made, groups=groups)


def _related(
    cfg: DictConfig, manifest: Manifest, identical: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the groups of ``data.groups``, else of file names, and of identical files, joined."""
    if cfg.data.get("groups") is None:
        return related_groups(manifest) if manifest.related else identical
    table = Path(str(cfg.data.groups)).expanduser()
    if cfg.split.name == "leaky":
        from leukemia.data.split.leaky import VIEWS, images_of

        return np.repeat(join_groups(images_of(manifest), table), len(VIEWS))
    return join_groups(manifest, table)


DATA_OWN = (
    *("name", "root", "groups", "balance", "cache_dir", "classes", "floors", "workers", "on_bad"),
    *("per_class", "paint_seed", "pattern", "labels", "extensions"),
)
"""Of ``data``: what is read here, and handed only to a data module that asks for it."""

Sources = SmearDataModule | EmbeddingDataModule


def build_augmenter(cfg: DictConfig) -> Augmenter | None:
    """Return the training augmentation; ``None`` where nothing would happen."""
    spec = call(prepare(cfg.augment.spec, "augment.spec"), "augment.spec")
    if isinstance(spec, AugmentSpec) and spec == AugmentSpec():
        return None
    black = cfg.mask.get("order", "") != "none" and cfg.mask.get("background", 0) == 0
    return Augmenter(spec, cfg.seed, border="black" if black else "reflect")


def build_data(cfg: DictConfig) -> Sources:
    """Return the data module of ``data=``; it has touched no disk but for painted smears."""
    classes = build_classes(cfg)
    common: dict[str, Any] = {
        "classes": classes,
        "eval_batch_size": cfg.runtime.eval_batch_size,
        "num_workers": cfg.runtime.num_workers,
        "seed": cfg.seed,
    }
    kind = target_of(cfg.data, "data")
    ours = inspect.isclass(kind) and issubclass(kind, ArrayDataModule)
    if not ours:
        module = make(cfg.data, "data", L.LightningDataModule, own=DATA_OWN, **common)
        preprocess = build_preprocess(cfg)
        return LoadedDataModule(
            module, preprocess=preprocess, cache_dir=cache_dir(cfg), verify=False, **common
        )
    splitter = build_splitter(cfg)
    if kind is EmbeddingDataModule:
        if cfg.split.name == "leaky":
            raise UserError("split=leaky pools views of images: data=embeddings has none.")
        if cfg.data.file is None:
            raise UserError("data=embeddings needs data.file=<a .npz with embeddings and files>.")
        del common["eval_batch_size"], common["num_workers"]
        return make(
            cfg.data, "data", EmbeddingDataModule, own=DATA_OWN, splitter=splitter, **common
        )
    node = OmegaConf.merge(
        cfg.data, {"root": str(find_root(cfg)), "cache_dir": str(cache_dir(cfg))}
    )
    assert isinstance(node, DictConfig)
    if cfg.split.name == "leaky" and kind is SmearDataModule:
        node[TARGET] = f"{PooledDataModule.__module__}.{PooledDataModule.__name__}"
    return make(
        node,
        "data",
        SmearDataModule,
        own=DATA_OWN,
        preprocess=build_preprocess(cfg),
        splitter=splitter,
        verify=cfg.open_test,
        augment=build_augmenter(cfg),
        layout=build_layout(cfg),
        **common,
    )
