"""From the settings ``model`` and ``trainer`` to a network and where it computes."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn

from leukemia.check import check_count, check_number
from leukemia.data.image.colour import channel_moments
from leukemia.errors import UserError
from leukemia.models.backbone import WithMagenta, make_backbone
from leukemia.models.baseline import BaselineCNN
from leukemia.models.beside import WithMasked
from leukemia.models.head import make_head
from leukemia.models.network import Network, Normalize
from leukemia.training.hardware import Hardware, resolve_accelerator, resolve_precision

_THREADS = torch.get_num_threads()
# Above these a system runs out of threads, processes or memory, and the process dies.
MOST_THREADS, MOST_WORKERS, MOST_IMAGES = 1024, 128, 65536
MOST_PIXELS = 4096  # a side
MOST_WIDTH = 16384  # of a layer


def build_hardware(cfg: DictConfig) -> Hardware:
    """Return device and precision, and set the number of CPU threads.

    Without ``trainer.threads`` they are the share that a launcher gives, or torch's own number:
    never what an earlier run of this process left.
    """
    trainer = cfg.trainer
    check_trainer(trainer)
    share = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(trainer.threads or int(share if share.isdigit() else 0) or _THREADS)
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
        progress=trainer.progress,
        save_every=trainer.save_every,
        keep_last=trainer.keep_last,
    )


def check_trainer(trainer: DictConfig) -> None:
    """Refuse numbers of ``trainer`` that no machine could have.

    Raises:
        UserError: there is one.
    """
    check_count("trainer.eval_batch_size", trainer.eval_batch_size, most=MOST_IMAGES)
    check_count("trainer.num_workers", trainer.num_workers, 0, MOST_WORKERS)
    if trainer.threads is not None:
        check_count("trainer.threads", trainer.threads, most=MOST_THREADS)
    check_number(
        "trainer.save_every", trainer.save_every, "seconds from 0 on", lambda seconds: seconds >= 0
    )


def on_this_machine(own: DictConfig, asked: Mapping[str, object]) -> DictConfig:
    """Return the settings ``trainer`` of a finished run as they can be here.

    What the run was trained with and this machine lacks is replaced, and a note says so; what is
    asked for stays, and is refused where it cannot be.

    Args:
        own: of the run.
        asked: settings that shall differ.
    """
    trainer = OmegaConf.merge(own, {"devices": 1}, asked)
    assert isinstance(trainer, DictConfig)
    gone = []
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
    return trainer


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
        network = Network(nn.Identity(), nn.Identity(), _head(cfg, embed_dim, n_classes))
        return network, f"embeddings from {Path(str(cfg.data.file)).name}"
    normalize: nn.Module = Normalize(cfg.model.normalize)
    if cfg.model.name == "baseline":
        if (weights := OmegaConf.select(cfg, "model.backbone.weights")) is not None:
            raise UserError(
                f"model=baseline has no pretrained weights, but got "
                f"model.backbone.weights={weights}: use null."
            )
        check_count("model.hidden", cfg.model.hidden, most=MOST_WIDTH)
        cnn = BaselineCNN(
            n_classes, cfg.model.hidden, cfg.model.get("init", "torch"), cfg.model.get("kernel", 5)
        )
        return Network(normalize, cnn, nn.Identity()), "baseline CNN: random weights"
    weights, attend = cfg.model.backbone.weights, cfg.model.backbone.get("attend")
    backbone, said = make_backbone(
        cfg.model.backbone.name,
        None if weights is None else str(weights),
        size=cfg.crop.size,
        layers=cfg.model.backbone.get("layers"),
        attend=attend,
        resize=cfg.model.backbone.get("resize"),
        masked=(beside := cfg.mask.get("beside")) is not None,
        load=load,
    )
    if beside is not None:
        normalize = WithMasked(normalize, beside)
    elif attend is not None:
        normalize = WithMagenta(normalize)
    return Network(normalize, backbone, _head(cfg, backbone.embed_dim, n_classes)), said


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
    if cfg.model.normalize != "train":
        return
    moments = channel_moments(images, rows)
    for module in network.normalize.modules():
        if isinstance(module, Normalize):
            module.use(*moments)


def _head(cfg: DictConfig, in_dim: int, n_classes: int) -> nn.Module:
    head = cfg.model.head
    check_count("the number of model.head.widths", len(head.widths), 0, 64)
    for width in head.widths:
        check_count("each of model.head.widths", width, most=MOST_WIDTH)
    return make_head(
        head.name,
        in_dim,
        n_classes,
        tuple(head.widths),
        head.dropout,
        standardize=head.standardize,
        whiten=head.get("fit") == "whitened",
        linear_dim=head.get("linear_dim"),
    )
