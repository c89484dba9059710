"""Predictions that were not learnt: of each image by a head that never saw its acquisition."""

from copy import copy, deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import nn
from tqdm import tqdm

from leukemia.compose.data import Sources
from leukemia.compose.model import build_classifier, build_stage_data, head_refit_stage
from leukemia.compose.network import build_network
from leukemia.data.datamodule import ArrayDataModule
from leukemia.models.discriminant import look_alikes
from leukemia.models.network import Network
from leukemia.training.embedded import fit_closed_form, start
from leukemia.training.hardware import Hardware
from leukemia.training.stage import History, Stage, fit_stage

Ints = NDArray[np.int64]
HeldOut = tuple[Ints, NDArray[np.float64]]


def held_out(
    cfg: DictConfig,
    data: Sources,
    network: Network,
    stage: Stage,
    hardware: Hardware,
    *,
    epochs: int,
) -> HeldOut | None:
    """Judge the images of training and validation by heads that saw none of their acquisition.

    The images of each class are put into ``decisions.folds`` clusters that look alike to the
    frozen backbone, and a group that ``data.groups`` names stays whole. For each fold the stage
    ``head`` is repeated without its images. A fine-tuning is not: what it adds is left out.

    Args:
        cfg: the settings.
        data: set up.
        network: the run's, whose normalisation is taken over.
        stage: ``head``.
        hardware: where and in which precision.
        epochs: that each head is trained for.

    Returns:
        Rows of the data (n,), and their class probabilities (n, C), uncalibrated; ``None`` where
        a class has too few images, or a fold would leave it without any.
    """
    anew, _ = build_network(cfg, data.embed_dim)
    anew.normalize.load_state_dict(network.normalize.state_dict())
    once = head_refit_stage(stage, epochs)
    table = build_stage_data(cfg, once, data, anew, hardware)
    embeddings, labels, sources = table.training_rows()
    known = table.parts["train"]
    sources = known if sources is None else sources
    images, first, place = np.unique(sources, return_index=True, return_inverse=True)
    folds = int(cfg.decisions.folds)
    if np.bincount(labels[first], minlength=len(cfg.data.classes.names)).min() < 2 * folds:
        return None
    fold = _folds(embeddings[first], labels[first], data.split.groups[images], folds)
    found = np.empty((len(images), len(cfg.data.classes.names)))
    for k in tqdm(
        range(folds),
        "held-out predictions",
        leave=False,
        disable=None if hardware.progress else True,
    ):
        learnt = fold[place] != k
        if len(np.unique(labels[learnt])) < found.shape[1]:
            return None
        part = copy(table)
        part.parts = {"train": known[learnt], "val": known[:0]}
        head = _fitted(cfg, deepcopy(anew.head), part, once, hardware)
        with torch.inference_mode():
            rows = torch.from_numpy(embeddings[first[fold == k]])
            found[fold == k] = head(rows).double().softmax(1).numpy()
    return (images, found) if np.isfinite(found).all() else None


def _folds(rows: NDArray[np.float32], labels: Ints, groups: Ints, folds: int) -> Ints:
    """Return the fold of each image (n,); those of one group share that of its first."""
    deviation = rows.std(0)
    scaled = (rows - rows.mean(0)) / np.where(deviation == 0, 1, deviation)
    fold = look_alikes(scaled, labels, folds)
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    return fold[first][place]


def _fitted(
    cfg: DictConfig, head: nn.Module, part: ArrayDataModule, stage: Stage, hardware: Hardware
) -> nn.Module:
    """Return a head fitted as the stage fits it; nothing of it is kept on the disk."""
    module = build_classifier(cfg, head, stage.name)
    history = History(stage.name, [], lambda rows: None)
    if getattr(head, "closed_form", False):
        fit_closed_form(module, None, part.training_rows(), hardware, history)
    else:
        start(module, part.training_rows())
        with TemporaryDirectory() as folder:
            fit_stage(module, part, stage, hardware, Path(folder), history)
    return head.cpu().float().eval()
