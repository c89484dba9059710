"""From ``stages`` to LightningModules and their data; and what is refused before any work."""

import json
from copy import copy
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from leukemia.compose.data import Sources, build_augmenter, build_splitter
from leukemia.compose.network import (
    MODEL_PARTS,
    MOST_PIXELS,
    MOST_THREADS,
    build_callbacks,
    build_loss,
    build_optimizer,
    build_schedule,
    check_runtime,
    takes_network,
)
from leukemia.compose.preprocess import build_classes, build_preprocess, cache_dir
from leukemia.data.datamodule import ArrayDataModule, SmearDataModule
from leukemia.data.split.leaky import PooledDataModule
from leukemia.errors import UserError, check_choice, check_count, check_number, check_switch
from leukemia.models.classifier import Classifier
from leukemia.models.embedding import upper_of
from leukemia.models.network import Network
from leukemia.settings import schema
from leukemia.settings.objects import make, prepare, target_of
from leukemia.settings.schema import TARGET
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
    if "head" in names and cfg.data.name != "embeddings" and is_whole(cfg):
        raise UserError(f"model={cfg.model.name} has no frozen backbone: use stages=[finetune].")
    cap = cfg.trainer.max_epochs
    if cap is not None:
        check_count("trainer.max_epochs", cap)
    starts = hasattr(target_of(cfg.model.head, "model.head"), "start")
    if starts and "head" not in names and not is_whole(cfg):
        raise UserError(
            f"model.head.{TARGET}={cfg.model.head[TARGET]} starts from embeddings in the stage "
            f"head: set stages=[head] or [head,finetune], not {names}, or head=linear."
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


def is_whole(cfg: DictConfig) -> bool:
    """Whether the network is one without a backbone under a head."""
    if not takes_network(cfg):
        return True
    return bool(getattr(target_of(cfg.model.backbone, "model.backbone"), "is_whole", False))


def refit_stage(stage: Stage, epochs: int) -> Stage:
    """Return the stage that fits again what another fitted, for so many epochs, unwatched."""
    return Stage(REFIT, epochs, None, None, stage.ema_decay)


def head_refit_stage(stage: Stage, epochs: int) -> Stage:
    """Return the stage that fits the head again before the last stage is, for so many epochs."""
    return Stage(HEAD_REFIT, epochs, None, None, stage.ema_decay)


def fitted_in(cfg: DictConfig, stage: str) -> str:
    """Return which of ``head`` and ``finetune`` a stage does; a refit does what the last did."""
    return {REFIT: last_stage(cfg), HEAD_REFIT: "head"}.get(stage, stage)


def build_classifier(cfg: DictConfig, network: nn.Module, stage: str) -> L.LightningModule:
    """Return the LightningModule of ``model`` around a network or its head, to be trained.

    Args:
        cfg: the settings.
        network: the whole, or in the stage ``head`` its head.
        stage: whose optimizer and schedule it has.
    """
    if isinstance(network, Network) and isinstance(network.backbone, L.LightningModule):
        return network.backbone  # it trains itself
    name = fitted_in(cfg, stage)
    optimizer = build_optimizer(cfg, name)
    if rates := cfg.stage[name].rates:
        optimizer = partial(with_rates, optimizer, dict(rates), f"stage.{name}.rates")
    return make(
        cfg.model if takes_network(cfg) else {TARGET: "leukemia.models.classifier.Classifier"},
        "model",
        L.LightningModule,
        own=MODEL_PARTS,
        optimizer=optimizer,
        schedule=build_schedule(cfg, name),
        **_around(cfg, network),
    )


def build_judge(cfg: DictConfig, network: nn.Module) -> Classifier:
    """Return the module that predicts by a network, whoever trained it."""
    return Classifier(**_around(cfg, network))


def _around(cfg: DictConfig, network: nn.Module) -> dict[str, Any]:
    if cfg.runtime.channels_last:
        network.to(memory_format=torch.channels_last)
    return {
        "network": network,
        "loss": build_loss(cfg),
        "n_classes": len(cfg.data.classes.names),
        "benign": build_classes(cfg).benign_labels,
        "seed": cfg.seed,
        "tta": cfg.runtime.tta,
        "channels_last": cfg.runtime.channels_last,
    }


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
    upper = fitted == "finetune" and bool(cfg.stage.finetune.upper)
    if (fitted == "head" or upper) and isinstance(data, SmearDataModule):
        beside = cfg.mask.get("beside")
        rows = partial(
            embedded,
            data,
            parts,
            hardware=hardware,
            backbone=_key_of(cfg.model.backbone) + ("" if beside is None else f" beside {beside}"),
            batch_size=cfg.runtime.eval_batch_size,
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


def _key_of(backbone: DictConfig) -> str:
    """Return a text that changes with what a backbone computes besides its weights."""
    found = OmegaConf.to_container(backbone, resolve=True)
    assert isinstance(found, dict)
    return json.dumps({**found, "weights": found.get("weights") is None}, sort_keys=True)


LARGEST_SEED = 2**32 - 1  # that numpy's older generators, inside scikit-learn, take


def _is_folds(number: float) -> bool:
    return number == 0 or (number == int(number) and 2 <= number <= 50)


def check_settings(cfg: DictConfig) -> None:
    """Refuse what can be told wrong before any image is read.

    Raises:
        UserError: a setting of the loss, a stage, a schedule, the crop or the backbone that
            cannot be.
    """
    schema.check(cfg, "train")
    check_count("seed", cfg.seed, 0, LARGEST_SEED)
    check_runtime(cfg.runtime)
    folds = cfg.decisions.folds
    check_number("decisions.folds", folds, "0 or a whole number from 2 to 50", _is_folds)
    build_loss(cfg)
    build_callbacks(cfg)
    prepare(cfg.trainer, "trainer")
    images = cfg.data.name != "embeddings"
    if cfg.data.get("workers") is not None:
        check_count("data.workers", cfg.data.workers, most=MOST_THREADS)
    if cfg.data.name == "synthetic":
        check_count("data.per_class", cfg.data.per_class, most=100_000)
        check_count("data.paint_seed", cfg.data.paint_seed, 0)
    if images:
        check_count("crop.size", cfg.crop.size, most=MOST_PIXELS)
        build_preprocess(cfg)
    resize = OmegaConf.select(cfg, "model.backbone.resize")
    if resize is not None:
        check_count("model.backbone.resize", resize, most=MOST_PIXELS)
    build_splitter(cfg)
    check_views(cfg, augments=images and build_augmenter(cfg) is not None)
    network = prepare(cfg.model.backbone, "model.backbone") if takes_network(cfg) else None
    side = getattr(getattr(network, "func", None), "side", None)
    if images and side is not None and cfg.crop.size != side:
        raise UserError(
            f"model={cfg.model.name} takes images of {side} x {side} pixels alone, "
            f"but got crop.size={cfg.crop.size}: set crop.size={side}."
        )
    if images and cfg.stain.grey and cfg.model.backbone.get("attend") is not None:
        raise UserError(
            "model.backbone.attend=magenta weighs pixels by their colour, which stain.grey=true "
            "takes away: use model.backbone.attend=null."
        )
    stages = build_stages(cfg)
    for name, values in cfg.stage.items():
        build_optimizer(cfg, str(name))
        build_schedule(cfg, str(name))
        Stage(str(name), values.epochs, values.monitor, values.patience, values.ema_decay)
        # Ten times the images there are is one batch, as a million is.
        check_count(f"stage.{name}.batch_size", values.batch_size, 2, 10**6)
    head = target_of(cfg.model.head, "model.head")
    weights = (cfg.loss.get("lambda_nll", 1), cfg.loss.get("lambda_bce", 1))
    usual = (1, 1) if build_classes(cfg).has_cancer else (1, 0)
    if getattr(head, "closed_form", False) and len(stages) == 1 and weights != usual:
        raise UserError(
            f"head=discriminant minimises no loss, so loss.lambda_nll={weights[0]} and "
            f"loss.lambda_bce={weights[1]} would change nothing: leave both at 1, "
            f"or use another head=."
        )
