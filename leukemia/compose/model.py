"""From the settings ``stages``, ``stage``, ``loss`` and ``augment.views`` to objects."""

from collections.abc import Callable, Iterable
from copy import copy
from functools import partial

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from leukemia.check import check_choice, check_count, check_switch
from leukemia.compose.data import Sources
from leukemia.compose.preprocess import build_classes, cache_dir
from leukemia.data.datamodule import ArrayDataModule, SmearDataModule
from leukemia.data.split.leaky import PooledDataModule
from leukemia.errors import UserError
from leukemia.models.beside import upper_of
from leukemia.models.classifier import Classifier
from leukemia.models.loss import DualLoss
from leukemia.models.network import Network
from leukemia.models.schedule import ScheduleSpec, make_optimizer, make_schedule
from leukemia.settings.settled import last_stage
from leukemia.training.embedded import (
    MoreViews,
    beside_each_other,
    drawn_views,
    embedded,
    paper_views_of,
)
from leukemia.training.finetuning import check_shares, with_rates
from leukemia.training.hardware import Hardware
from leukemia.training.stage import HEAD_REFIT, MONITORS, REFIT, Stage

MOST_VIEWS = 64


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
    cap = cfg.trainer.max_epochs
    if cap is not None:
        check_count("trainer.max_epochs", cap)
    if (fit := head_fit(cfg)) != "gradient" and "head" not in names:
        raise UserError(
            f"head={fit} is fitted to embeddings in the stage head: set stages=[head] or "
            f"[head,finetune], not {names}, or head=linear."
        )
    stages = []
    for name in names:
        values = cfg.stage[name]
        check_count(f"stage.{name}.epochs", values.epochs)
        check_choice(f"stage.{name}.monitor", values.monitor, MONITORS)
        epochs = values.epochs if cap is None else min(values.epochs, cap)
        stages.append(Stage(name, epochs, values.monitor, values.patience, values.ema_decay))
        check_switch(f"stage.{name}.refit", values.refit)
    if names == ["head", "finetune"] and cfg.stage.head.refit and not cfg.stage.finetune.refit:
        raise UserError(
            "stage.head.refit=true fits again what a run keeps, but the last of "
            "stages=[head,finetune] is finetune: set stage.head.refit=false, or "
            "stage.finetune.refit=true too."
        )
    for name in names:
        if (shares := cfg.stage[name].get("blend")) is not None:
            check_shares(shares, f"stage.{name}.blend")
    return stages


def refit_stage(stage: Stage, epochs: int) -> Stage:
    """Return the stage that fits again what another fitted, for so many epochs, unwatched."""
    return Stage(REFIT, epochs, None, None, stage.ema_decay)


def head_refit_stage(stage: Stage, epochs: int) -> Stage:
    """Return the stage that fits the head again before the last stage is, for so many epochs."""
    return Stage(HEAD_REFIT, epochs, None, None, stage.ema_decay)


def fitted_in(cfg: DictConfig, stage: str) -> str:
    """Return which of ``head`` and ``finetune`` a stage does; a refit does what the last did."""
    return {REFIT: last_stage(cfg), HEAD_REFIT: "head"}.get(stage, stage)


def head_fit(cfg: DictConfig) -> str:
    """Return how the head is fitted in the stage ``head``.

    ``gradient``; ``discriminant``, in closed form; ``whitened``, from the discriminant on by
    gradients.

    Raises:
        UserError: a ``model.head.fit`` that is unknown or goes with another head.
    """
    head = cfg.model.head
    fit = str(head.get("fit", "gradient"))
    check_choice("model.head.fit", fit, ("gradient", "discriminant", "whitened"))
    corrected = head.name == "corrected" and fit == "whitened"  # its linear part
    if fit != "gradient" and not corrected and (head.name != "linear" or head.standardize):
        raise UserError(
            f"model.head.fit={fit} goes with a linear head that does not standardize: "
            f"use head={fit}."
        )
    return fit


def build_loss(cfg: DictConfig) -> DualLoss:
    """Return the dual loss of ``loss.*``."""
    weights = cfg.loss.class_weights
    return DualLoss(
        cfg.loss.lambda_nll,
        cfg.loss.lambda_bce,
        benign_index=build_classes(cfg).benign_index,
        cancer_weight=cfg.loss.cancer_weight,
        class_weights=list(weights) if OmegaConf.is_list(weights) else weights,
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
        values = cfg.stage[fitted_in(cfg, stage)]
        optimizer = partial(make_optimizer, **values.optimizer)
        if rates := values.get("rates"):
            key = f"stage.{fitted_in(cfg, stage)}.rates"
            optimizer = partial(with_rates, optimizer, dict(rates), key)
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


def build_views(cfg: DictConfig, data: Sources) -> MoreViews | None:
    """Return the views that the stage ``head`` embeds beside a training image; ``None`` for none.

    Raises:
        UserError: numbers of views that cannot be.
    """
    check_views(cfg, augments=data.augment is not None)
    paper, drawn = cfg.augment.views, cfg.augment.get("drawn_views", 0)
    if isinstance(data, PooledDataModule):
        paper = 1  # a pool of views holds the paper's already
    if (paper, drawn) == (1, 0):
        return None
    if drawn:
        assert data.augment is not None
        spec = OmegaConf.to_container(cfg.augment.spec)
        return MoreViews(partial(drawn_views, data.augment, drawn), f"{drawn} {spec} {data.seed}")
    return MoreViews(partial(paper_views_of, data.seed), f"paper {data.seed}")


def check_views(cfg: DictConfig, *, augments: bool) -> None:
    """Refuse numbers of views that cannot be.

    Args:
        cfg: the settings.
        augments: whether there is an augmentation to draw views from.

    Raises:
        UserError: they cannot be.
    """
    paper, drawn = cfg.augment.views, cfg.augment.get("drawn_views", 0)
    if paper not in (1, 5):
        raise UserError(f"Expected augment.views to be 1 or 5, but got {paper}.")
    check_count("augment.drawn_views", drawn, 0, MOST_VIEWS)
    pooled = cfg.split.name == "leaky"  # of the paper's views
    if drawn and ((paper == 5 and not pooled) or not augments):
        raise UserError(
            f"augment.drawn_views={drawn} needs an augmentation to draw from and goes with "
            f"augment.views=1 alone: use augment=stain, for one."
        )


def build_stage_data(
    cfg: DictConfig, stage: Stage, data: Sources, network: Network, hardware: Hardware
) -> ArrayDataModule:
    """Return what a stage trains on: the data, or under a frozen backbone cached embeddings.

    For a refit, training and validation together are its training part.

    Raises:
        UserError: numbers of views that cannot be.
    """
    views = build_views(cfg, data)
    table: ArrayDataModule
    parts = data.parts
    if stage.name in (REFIT, HEAD_REFIT):
        parts = {"train": np.r_[parts["train"], parts["val"]], "val": parts["val"][:0]}
    fitted = fitted_in(cfg, stage.name)
    upper = fitted == "finetune" and bool(cfg.stage.finetune.get("upper"))
    if (fitted == "head" or upper) and isinstance(data, SmearDataModule):
        backbone = cfg.model.backbone
        rows = partial(
            embedded,
            data,
            parts,
            hardware=hardware,
            backbone=f"{backbone.name} {backbone.get('layers')} {backbone.get('attend')} "
            f"{backbone.get('resize')} {backbone.weights is None}"
            + (f" beside {beside}" if (beside := cfg.mask.get("beside")) is not None else ""),
            batch_size=cfg.trainer.eval_batch_size,
            views=views,
        )
        table = rows(network=network, folder=cache_dir(cfg))
        if upper:  # what is below layer4 is computed once
            below, above = upper_of(network.backbone, network.head)
            maps = Network(network.normalize, below, network.head)
            table = beside_each_other(table, rows(network=maps, folder=None), above.plain_dim)
    else:
        table = copy(data)
        table.parts = parts
    table.batch_size = cfg.stage[fitted].batch_size
    return table
