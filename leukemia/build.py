"""The only place where a config becomes objects."""

import hashlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from leukemia.classes import Classes
from leukemia.data.augment import Augmenter, AugmentSpec, paper_views
from leukemia.data.cache import Preprocess
from leukemia.data.datamodule import (
    ArrayDataModule,
    EmbeddingDataModule,
    SmearDataModule,
    Splitter,
)
from leukemia.data.manifest import Manifest
from leukemia.data.mask import MaskSpec
from leukemia.data.split import Split, balance, paper_split, stratified_split
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError
from leukemia.model.backbone import Normalize, make_backbone
from leukemia.model.baseline import BaselineCNN
from leukemia.model.classifier import Classifier
from leukemia.model.embeddings import cached_embeddings
from leukemia.model.fit import Hardware, Stage
from leukemia.model.hardware import resolve_accelerator, resolve_precision
from leukemia.model.head import make_head
from leukemia.model.loss import DualLoss
from leukemia.model.network import Network
from leukemia.model.schedule import ScheduleSpec, make_optimizer, make_schedule

Config = Any
Sources = SmearDataModule | EmbeddingDataModule


def build_classes(cfg: Config) -> Classes:
    """Return the class scheme of ``data.classes``."""
    return Classes(tuple(cfg.data.classes.names), cfg.data.classes.benign)


def cache_dir(cfg: Config) -> Path:
    """Return the folder of ``data.cache_dir``."""
    return Path(str(cfg.data.cache_dir)).expanduser()


def build_splitter(cfg: Config) -> Splitter:
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


def build_preprocess(cfg: Config) -> Preprocess:
    """Return mask, crop and size."""
    ranges = tuple((tuple(low), tuple(high)) for low, high in cfg.mask.ranges)
    return Preprocess(MaskSpec(cfg.mask.order, ranges), cfg.crop.mode, cfg.crop.size)


def build_augmenter(cfg: Config) -> Augmenter | None:
    """Return the training augmentation; ``None`` where nothing would happen."""
    values = dict(cfg.augment.spec)
    values["blur_sigma"] = tuple(values["blur_sigma"])
    spec = AugmentSpec(**values)
    if spec == AugmentSpec():
        return None
    return Augmenter(spec, cfg.seed, border="reflect" if cfg.mask.order == "none" else "black")


def find_root(cfg: Config) -> Path:
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


def build_data(cfg: Config) -> Sources:
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


def build_hardware(cfg: Config) -> Hardware:
    """Return device and precision, and set the number of CPU threads."""
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    return Hardware(
        accelerator=accelerator,
        devices=cfg.trainer.devices,
        precision=resolve_precision(cfg.trainer.precision, accelerator),
        deterministic=cfg.trainer.deterministic,
        progress=cfg.trainer.progress,
    )


def build_network(cfg: Config, data: Sources) -> tuple[Network, str]:
    """Return the network and one line about its weights. Seeds torch first.

    Raises:
        UserError: for weights that cannot be had or do not fit.
    """
    torch.manual_seed(cfg.seed)
    n_classes = len(cfg.data.classes.names)
    if isinstance(data, EmbeddingDataModule):
        if data.array is None:
            data.setup()
        assert data.array is not None
        head = _head(cfg, data.array.shape[1], n_classes)
        return Network(nn.Identity(), nn.Identity(), head), f"embeddings from {data.file.name}"
    normalize = Normalize(cfg.model.normalize)
    if cfg.model.name == "baseline":
        cnn = BaselineCNN(n_classes, cfg.model.hidden)
        return Network(normalize, cnn, nn.Identity()), "baseline CNN: random weights"
    weights = cfg.model.backbone.weights
    backbone, said = make_backbone(
        cfg.model.backbone.name, None if weights is None else str(weights), size=cfg.crop.size
    )
    return Network(normalize, backbone, _head(cfg, backbone.embed_dim, n_classes)), said


def _head(cfg: Config, in_dim: int, n_classes: int) -> nn.Module:
    head = cfg.model.head
    return make_head(
        head.name,
        in_dim,
        n_classes,
        tuple(head.widths),
        head.dropout,
        standardize=head.standardize,
    )


def build_stages(cfg: Config) -> list[Stage]:
    """Return the stages to run, in order.

    Raises:
        UserError: an unknown stage, none, or one that the model or the data cannot have.
    """
    names = ["head"] if cfg.data.name == "embeddings" else list(cfg.stages)
    if names not in (["head"], ["finetune"], ["head", "finetune"]):
        raise UserError(
            f"Expected stages to be [head], [finetune] or [head,finetune], but got {names}."
        )
    if cfg.model.name == "baseline" and "head" in names and cfg.data.name != "embeddings":
        raise UserError("model=baseline has no frozen backbone: use stages=[finetune].")
    cap = math.inf if cfg.trainer.max_epochs is None else cfg.trainer.max_epochs
    if not cap >= 1:
        raise UserError(f"Expected trainer.max_epochs to be 1 or more, but got '{cap}'.")
    stages = []
    for name in names:
        values = cfg.stage[name]
        epochs = min(values.epochs, cap)
        stages.append(Stage(name, epochs, values.monitor, values.patience, values.ema_decay))
    return stages


def build_loss(cfg: Config) -> DualLoss:
    """Return the dual loss of ``loss.*``."""
    weights = cfg.loss.class_weights
    return DualLoss(
        cfg.loss.lambda_nll,
        cfg.loss.lambda_bce,
        benign_index=build_classes(cfg).benign_index,
        class_weights=None if weights is None else list(weights),
        label_smoothing=cfg.loss.label_smoothing,
        n_classes=len(cfg.data.classes.names),
    )


def build_classifier(cfg: Config, network: nn.Module, stage: str | None = None) -> Classifier:
    """Return the LightningModule around a network, with the optimizer of ``stage`` if named."""
    optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer] | None = None
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    if stage is not None:
        values = cfg.stage[stage]
        optimizer = partial(make_optimizer, **values.optimizer)
        schedule = partial(_schedule, ScheduleSpec(**values.schedule))
    return Classifier(
        network,
        build_loss(cfg),
        optimizer,
        schedule,
        n_classes=len(cfg.data.classes.names),
        seed=cfg.seed,
        tta=cfg.trainer.tta,
        channels_last=cfg.trainer.channels_last,
    )


def _schedule(spec: ScheduleSpec, optimizer: Optimizer, steps: int) -> LRScheduler:
    return make_schedule(optimizer, spec, steps)


def build_stage_data(
    cfg: Config, stage: Stage, data: Sources, network: Network, hardware: Hardware
) -> ArrayDataModule:
    """Return what a stage trains on: the data, or for ``head`` its cached embeddings."""
    batch_size = cfg.stage[stage.name].batch_size
    if batch_size < 2:
        raise UserError(
            f"Expected stage.{stage.name}.batch_size to be 2 or more, but got {batch_size}."
        )
    if stage.name != "head" or isinstance(data, EmbeddingDataModule):
        data.batch_size = batch_size
        return data
    assert data.array is not None
    assert data.labels is not None
    content = hashlib.sha256(
        (data.preprocess.key + "".join(data.manifest.sha256)).encode()
    ).hexdigest()
    table: list[npt.NDArray[np.float32]] = []
    labels: list[npt.NDArray[np.int64]] = []
    parts: dict[str, npt.NDArray[np.int64]] = {}
    for part in ("train", "val"):
        rows = data.parts[part]
        views = cfg.augment.views
        if views not in (1, 5):
            raise UserError(f"Expected augment.views to be 1 or 5, but got {views}.")
        several = part == "train" and views == 5
        found = cached_embeddings(
            network,
            data.array,
            rows,
            folder=cache_dir(cfg),
            content=f"{content} {cfg.seed if several else 'plain'}",
            views=partial(_views, cfg.seed) if several else None,
            batch_size=cfg.trainer.eval_batch_size,
            device=hardware.accelerator,
            bfloat16=hardware.precision == "bf16-mixed",
            progress=hardware.progress,
        )
        start = sum(map(len, labels))
        table.append(found.reshape(-1, found.shape[-1]))
        labels.append(np.repeat(data.labels[rows], found.shape[1]))
        parts[part] = np.arange(start, start + len(labels[-1]))
    return ArrayDataModule(
        np.concatenate(table),
        np.concatenate(labels),
        parts,
        batch_size=batch_size,
        eval_batch_size=1024,
        seed=cfg.seed,
    )


def _views(seed: int, image: npt.NDArray[np.uint8], row: int) -> npt.NDArray[np.uint8]:
    return paper_views(image, seed, row)
