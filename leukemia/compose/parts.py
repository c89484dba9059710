"""From ``loss``, ``stage``, ``schedule`` and ``callbacks`` to how a network learns."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from leukemia.check import check_number
from leukemia.compose.preprocess import build_classes
from leukemia.models.schedule import decay_groups

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
from leukemia.settings.objects import arguments_of, call, make, prepare


def build_loss(cfg: DictConfig) -> nn.Module:
    """Return the loss of ``loss.*``: of logits (N, C) and labels (N,)."""
    return make(
        cfg.loss,
        "loss",
        nn.Module,
        benign=build_classes(cfg).benign_labels,
        n_classes=len(cfg.data.classes.names),
    )


def build_optimizer(
    cfg: DictConfig, stage: str
) -> Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]:
    """Return what makes a stage's optimizer of named parameters.

    Biases and norms are spared its ``weight_decay``.

    Raises:
        UserError: no such optimizer, or a setting that it does not take.
    """
    node, path = cfg.stage[stage].optimizer, f"stage.{stage}.optimizer"
    if "lr" in node:
        check_number(f"{path}.lr", node.lr, "above 0", lambda x: x > 0)
    decay = node.get("weight_decay", 0.0)
    check_number(f"{path}.weight_decay", decay, "a number from 0 on", lambda x: x >= 0)
    # Clipped gradients are what Lightning refuses in half precision to one that is fused.
    if cfg.trainer.get("gradient_clip_val") and node.get("fused"):
        node = DictConfig({**node, "fused": False})
    ready = prepare(node, path)

    def optimizer(params: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
        found = call(ready, path, params=decay_groups(params, decay))
        assert isinstance(found, Optimizer)
        return found

    return optimizer


def build_schedule(cfg: DictConfig, stage: str) -> Callable[[Optimizer, int], LRScheduler]:
    """Return what makes the scheduler of a stage: its own, or the one of ``schedule=``.

    Raises:
        UserError: no such schedule, or a setting that it does not take.
    """
    own = cfg.stage[stage].schedule
    node, path = (cfg.schedule, "schedule") if own is None else (own, f"stage.{stage}.schedule")
    ready = prepare(node, path)
    if "optimizer" not in arguments_of(node, path):  # one of ours, called with both
        made = call(ready, path)
        return cast(Callable[[Optimizer, int], LRScheduler], made)

    def schedule(optimizer: Optimizer, steps: int) -> LRScheduler:
        found = call(ready, path, optimizer=optimizer, total_steps=steps)
        return cast(LRScheduler, found)

    return schedule


def build_callbacks(cfg: DictConfig) -> "list[Callback]":
    """Return the callbacks of ``callbacks=``, new ones for each stage.

    Raises:
        UserError: no such callback, or a setting that it does not take.
    """
    from lightning.pytorch.callbacks import Callback

    nodes = cfg.get("callbacks") or {}
    return [
        make(node, f"callbacks.{name}", Callback)
        for name, node in nodes.items()
        if node is not None
    ]
