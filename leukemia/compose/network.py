"""From ``model``, ``loss``, ``stage``, ``callbacks``, ``trainer`` and ``runtime`` to objects."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from leukemia.compose.preprocess import build_classes
from leukemia.data.image.preprocess import channel_moments
from leukemia.errors import UserError, check_count, check_number
from leukemia.models.backbone import Backbone, WithMagenta
from leukemia.models.embedding import WithMasked
from leukemia.models.network import Network, Normalize
from leukemia.models.schedule import decay_groups
from leukemia.settings.objects import arguments_of, call, make, prepare
from leukemia.settings.schema import TARGET
from leukemia.training.hardware import Hardware, resolve_accelerator, resolve_precision

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback


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


_THREADS = torch.get_num_threads()
# Above these a system runs out of threads, processes or memory, and the process dies.
MOST_THREADS, MOST_WORKERS, MOST_IMAGES = 1024, 128, 65536
MOST_PIXELS = 4096  # a side

MODEL_PARTS = ("name", "normalize", "backbone", "head")
"""Of ``model``: what is not the LightningModule's own, unless it asks for it by name."""

_RESOLVED = ("accelerator", "devices", "precision", "deterministic", "max_epochs")
_OF_TRAINER = ("accelerator", "devices", "precision")


def build_hardware(cfg: DictConfig) -> Hardware:
    """Return device, precision and the Trainer's flags, and set the number of CPU threads.

    Without ``runtime.threads`` they are the share that a launcher gives, or torch's own number:
    never what an earlier run of this process left.
    """
    trainer, runtime = cfg.trainer, cfg.runtime
    check_runtime(runtime)
    share = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(runtime.threads or int(share if share.isdigit() else 0) or _THREADS)
    accelerator = resolve_accelerator(trainer.accelerator)
    devices = trainer.devices
    if OmegaConf.is_list(devices):
        present = torch.cuda.device_count() if accelerator == "cuda" else 0
        if not present:
            raise UserError(
                f"trainer.devices={list(devices)} names a GPU, but the run computes on "
                f"{accelerator}: use trainer.devices=1."
            )
        check_count("each of trainer.devices", devices[0], 0, present - 1)
        devices = list(devices)
    return Hardware(
        accelerator=accelerator,
        devices=devices,
        precision=resolve_precision(trainer.precision, accelerator),
        deterministic=trainer.deterministic,
        progress=runtime.progress,
        save_every=runtime.save_every,
        keep_last=runtime.keep_last,
        trainer=partial(_trainer, trainer),
    )


def _trainer(trainer: DictConfig) -> Any:  # noqa: ANN401
    """Return the Trainer's class with those of its flags that the code does not settle."""
    flags = OmegaConf.to_container(trainer, resolve=True)
    assert isinstance(flags, dict)
    kept = {str(k): v for k, v in flags.items() if k not in _RESOLVED and v is not None}
    return prepare(kept, "trainer")


def check_runtime(runtime: DictConfig) -> None:
    """Refuse numbers of ``runtime`` that no machine could have.

    Raises:
        UserError: there is one.
    """
    check_count("runtime.eval_batch_size", runtime.eval_batch_size, most=MOST_IMAGES)
    check_count("runtime.num_workers", runtime.num_workers, 0, MOST_WORKERS)
    if runtime.threads is not None:
        check_count("runtime.threads", runtime.threads, most=MOST_THREADS)
    check_number(
        "runtime.save_every", runtime.save_every, "seconds from 0 on", lambda seconds: seconds >= 0
    )


def on_this_machine(cfg: DictConfig, asked: Mapping[str, object]) -> DictConfig:
    """Return the settings of a finished run as they can be here.

    What the run was trained with and this machine lacks is replaced, and a note says so; what is
    asked for stays, and is refused where it cannot be.

    Args:
        cfg: of the run.
        asked: settings of ``trainer`` and ``runtime`` that shall differ.
    """
    cfg = cfg.copy()
    own = cfg.trainer
    of_trainer = {key: asked[key] for key in _OF_TRAINER if key in asked}
    others = {key: value for key, value in asked.items() if key not in of_trainer}
    with open_dict(cfg):
        cfg.trainer = OmegaConf.merge(own, {"devices": 1}, of_trainer)
        cfg.runtime = OmegaConf.merge(cfg.runtime, others)
    trainer, gone = cfg.trainer, []
    on_gpu = own.accelerator in ("gpu", "cuda")
    if "accelerator" not in asked and on_gpu and not torch.cuda.is_available():
        gone.append(f"trainer.accelerator={own.accelerator}")
        trainer.accelerator = "auto"
    accelerator = resolve_accelerator(trainer.accelerator)
    if "precision" not in asked and own.precision == "16-mixed" and accelerator == "cpu":
        gone.append("trainer.precision=16-mixed")
        trainer.precision = "auto"
    if gone:
        precision = resolve_precision(trainer.precision, accelerator)
        print(
            f"Note: the run was trained with {' and '.join(gone)}, which is not to be had here: "
            f"computed on {accelerator} in {precision}. Figures may differ in the last digits.",
            file=sys.stderr,
        )
    return cfg


def takes_network(cfg: DictConfig) -> bool:
    """Whether ``model`` is a LightningModule around a network of ours, not one that is whole."""
    # Without an import where it is ours, for who only predicts.
    own = cfg.model.get(TARGET) == "leukemia.models.classifier.Classifier"
    return own or "network" in arguments_of(cfg.model, "model")


def build_network(
    cfg: DictConfig, embed_dim: int | None = None, *, load: bool = True
) -> tuple[Network, str]:
    """Return the network and one line about its weights. Seeds torch first.

    Args:
        cfg: the settings.
        embed_dim: size of an embedding for ``data=embeddings``; ``None`` for images.
        load: fetch the backbone's weights; a finished run brings its own.

    Raises:
        UserError: for weights that cannot be had or do not fit.
    """
    torch.manual_seed(cfg.seed)
    n_classes = len(cfg.data.classes.names)
    if embed_dim is not None:
        network = Network(nn.Identity(), nn.Identity(), _head(cfg, embed_dim, n_classes, embed_dim))
        return network, f"embeddings from {Path(str(cfg.data.file)).name}"
    if not takes_network(cfg):
        return _build_whole(cfg)
    normalize: nn.Module = Normalize(cfg.model.normalize)
    node = cfg.model.backbone
    found = call(
        prepare(node, "model.backbone"),
        "model.backbone",
        n_classes=n_classes,
        size=cfg.crop.size,
        masked=(beside := cfg.mask.get("beside")) is not None,
        load=load,
    )
    if not isinstance(found, nn.Module):
        raise UserError(f"Expected model.backbone.{TARGET} to make a module of torch.")
    if getattr(found, "is_whole", False):
        return Network(normalize, found, nn.Identity()), f"{cfg.model.name}: random weights"
    backbone = found if isinstance(found, Backbone) else _sized(found, cfg.crop.size)
    if beside is not None:
        normalize = WithMasked(normalize, beside)
    elif backbone.channels == 4:
        normalize = WithMagenta(normalize)
    head = _head(cfg, backbone.embed_dim, n_classes, backbone.plain_dim)
    return Network(normalize, backbone, head), backbone.said


def _sized(body: nn.Module, size: int) -> Backbone:
    """Return a stranger's network as a backbone."""
    try:
        return Backbone(body, size)
    except (RuntimeError, ValueError, AssertionError, IndexError, AttributeError) as error:
        raise UserError(
            f"Expected model.backbone to make embeddings (N, d) of images (N, 3, {size}, {size}), "
            f"but {type(body).__name__} fails: {str(error).strip().partition(chr(10))[0]}"
        ) from error


def fit_normalization(
    cfg: DictConfig, network: Network, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> None:
    """Hand the colours of the training images to a network that goes by them.

    Args:
        cfg: the settings; without ``model.normalize=train`` nothing is done.
        network: receives mean and standard deviation.
        images: all of the run's, (N, H, W, 3).
        rows: of the training part.
    """
    if cfg.model.get("normalize") != "train":
        return
    moments = channel_moments(images, rows)
    for module in network.normalize.modules():
        if isinstance(module, Normalize):
            module.use(*moments)


def _head(cfg: DictConfig, in_dim: int, n_classes: int, plain_dim: int) -> nn.Module:
    node, kind = cfg.model.head, nn.Module
    return make(node, "model.head", kind, in_dim=in_dim, n_classes=n_classes, plain_dim=plain_dim)


def _build_whole(cfg: DictConfig) -> tuple[Network, str]:
    """Return a LightningModule that is a network itself, and a line about it.

    It takes raw images (N, 3, H, W) in 0..255 to logits (N, C), which stand for embeddings too.

    Raises:
        UserError: ``model`` names no LightningModule, or the stage ``head`` is asked for.
    """
    import lightning as L  # here, as to predict by another network takes none of it

    name = "finetune"
    module = make(
        cfg.model,
        "model",
        L.LightningModule,
        own=MODEL_PARTS,
        loss=build_loss(cfg),
        optimizer=build_optimizer(cfg, name),
        schedule=build_schedule(cfg, name),
        n_classes=len(cfg.data.classes.names),
        benign=build_classes(cfg).benign_labels,
        size=cfg.crop.size,
        seed=cfg.seed,
    )
    return Network(nn.Identity(), module, nn.Identity()), f"{cfg.model.name}: random weights"
