"""From the settings ``model``, ``loss``, ``stage`` and ``trainer`` to objects."""

import math
import os
from collections.abc import Callable, Iterable
from functools import partial

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from leukemia.build.data import Sources, build_classes, cache_dir
from leukemia.build.embedded import embedded
from leukemia.data.datamodule import ArrayDataModule, EmbeddingDataModule, SmearDataModule
from leukemia.errors import UserError
from leukemia.model.backbone import Normalize, make_backbone
from leukemia.model.baseline import BaselineCNN
from leukemia.model.classifier import Classifier
from leukemia.model.fit import Hardware, Stage
from leukemia.model.hardware import resolve_accelerator, resolve_precision
from leukemia.model.head import make_head
from leukemia.model.loss import DualLoss
from leukemia.model.network import Network
from leukemia.model.schedule import ScheduleSpec, make_optimizer, make_schedule

_THREADS = torch.get_num_threads()


def check_settings(cfg: DictConfig) -> None:
    """Refuse what can be told wrong before any image is read.

    Raises:
        UserError: a setting of the loss, a stage or a schedule that cannot be.
    """
    build_loss(cfg)
    for stage in build_stages(cfg):
        ScheduleSpec(**cfg.stage[stage.name].schedule)


def build_hardware(cfg: DictConfig) -> Hardware:
    """Return device and precision, and set the number of CPU threads.

    Without ``trainer.threads`` they are the share that a launcher gives, or torch's own number:
    never what an earlier run of this process left.
    """
    share = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(cfg.trainer.threads or int(share if share.isdigit() else 0) or _THREADS)
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    return Hardware(
        accelerator=accelerator,
        devices=cfg.trainer.devices,
        precision=resolve_precision(cfg.trainer.precision, accelerator),
        deterministic=cfg.trainer.deterministic,
        progress=cfg.trainer.progress,
        save_every=cfg.trainer.save_every,
        keep_last=cfg.trainer.keep_last,
    )


def build_network(cfg: DictConfig, data: Sources | None = None) -> tuple[Network, str]:
    """Return the network and one line about its weights. Seeds torch first.

    Args:
        cfg: the settings.
        data: only ``data=embeddings`` is looked at, for the size of its rows.

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
        if cfg.model.backbone.weights is not None:
            raise UserError(
                f"model=baseline has no pretrained weights, but got "
                f"model.backbone.weights={cfg.model.backbone.weights}: use null."
            )
        cnn = BaselineCNN(n_classes, cfg.model.hidden)
        return Network(normalize, cnn, nn.Identity()), "baseline CNN: random weights"
    weights = cfg.model.backbone.weights
    backbone, said = make_backbone(
        cfg.model.backbone.name, None if weights is None else str(weights), size=cfg.crop.size
    )
    return Network(normalize, backbone, _head(cfg, backbone.embed_dim, n_classes)), said


def _head(cfg: DictConfig, in_dim: int, n_classes: int) -> nn.Module:
    head = cfg.model.head
    return make_head(
        head.name,
        in_dim,
        n_classes,
        tuple(head.widths),
        head.dropout,
        standardize=head.standardize,
    )


def build_stages(cfg: DictConfig) -> list[Stage]:
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


def build_loss(cfg: DictConfig) -> DualLoss:
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


def build_classifier(cfg: DictConfig, network: nn.Module, stage: str | None = None) -> Classifier:
    """Return the LightningModule around a network, with the optimizer of ``stage`` if named."""
    if cfg.trainer.channels_last:
        network.to(memory_format=torch.channels_last)
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
    cfg: DictConfig, stage: Stage, data: Sources, network: Network, hardware: Hardware
) -> ArrayDataModule:
    """Return what a stage trains on: the data, or for ``head`` its cached embeddings.

    Raises:
        UserError: a batch of one, or a number of views other than 1 and 5.
    """
    batch_size, views = cfg.stage[stage.name].batch_size, cfg.augment.views
    if batch_size < 2:
        raise UserError(
            f"Expected stage.{stage.name}.batch_size to be 2 or more, but got {batch_size}."
        )
    if views not in (1, 5):
        raise UserError(f"Expected augment.views to be 1 or 5, but got {views}.")
    if stage.name == "head" and isinstance(data, SmearDataModule):
        table = embedded(
            data,
            network,
            hardware,
            folder=cache_dir(cfg),
            batch_size=cfg.trainer.eval_batch_size,
            five_views=views == 5,
        )
        table.batch_size = batch_size
        return table
    data.batch_size = batch_size
    return data
