"""The stage ``head``: images become embeddings, on which it is fitted, also in closed form."""

import hashlib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import lightning as L
import numpy as np
import numpy.typing as npt
import torch

from leukemia.data.augment import Augmenter, paper_views
from leukemia.data.datamodule import ArrayDataModule, SmearDataModule
from leukemia.models.embedding import Views, cached_embeddings, embed
from leukemia.models.loss import terms_of
from leukemia.models.network import Network
from leukemia.training.hardware import Hardware
from leukemia.training.stage import History, interruptible, make_trainer


@dataclass(frozen=True)
class MoreViews:
    """What a training image is embedded as beside itself.

    Args:
        make: an image (H, W, 3) and its row to its other views (V, H, W, 3), uint8.
        key: a text that changes with the views.
    """

    make: Views
    key: str


def embedded(
    data: SmearDataModule,
    parts: Mapping[str, npt.NDArray[np.int64]],
    network: Network,
    hardware: Hardware,
    *,
    folder: Path | None,
    backbone: str,
    batch_size: int,
    views: MoreViews | None,
) -> ArrayDataModule:
    """Return training and validation embeddings; those of the test part are not computed.

    Args:
        data: the images, set up.
        parts: rows of the images, by part: train and val.
        network: its normalisation and backbone are used, in eval mode.
        hardware: where and in which precision.
        folder: the cache of embeddings; ``None`` keeps nothing.
        backbone: a text that changes with what the backbone computes besides its weights.
        batch_size: images a forward pass.
        views: of each training image, after the split; ``None`` for the image alone.
    """
    images, labels = data.pixels()
    content = hashlib.sha256(
        "\n".join([data.preprocess.key, backbone, *data.manifest.sha256]).encode()
    ).hexdigest()
    train, val = parts["train"], parts["val"]
    make = not_cached if folder is None else partial(cached_embeddings, folder=folder)
    cached = partial(
        make,
        network,
        images,
        batch_size=batch_size,
        device=hardware.accelerator,
        half=hardware.half,
        progress=hardware.progress,
    )
    # Both parts at once: `embed` passes whole batches of neighbouring rows.
    sources = np.concatenate([train, val])
    table = cached(sources, content=f"{content} plain")[:, 0]
    if views is not None:
        more = cached(train, content=f"{content} {views.key}", views=views.make)
        table = np.concatenate([table, more.reshape(-1, more.shape[-1])])
        sources = np.concatenate([sources, np.repeat(train, more.shape[1])])
    every = np.arange(len(table))
    last = len(train) + len(val)
    places = {"train": np.r_[every[: len(train)], every[last:]], "val": every[len(train) : last]}
    return ArrayDataModule(
        table,
        labels[sources],
        places,
        eval_batch_size=1024,
        seed=data.seed,
        sources=sources,
    )


def not_cached(
    network: Network,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    *,
    content: str,
    **settings: Any,
) -> npt.NDArray[np.float32]:
    """Return `embed`'s table, computed anew: for what is too large to keep."""
    return embed(network, images, rows, **settings)


def beside_each_other(left: ArrayDataModule, right: ArrayDataModule, dim: int) -> ArrayDataModule:
    """Return one table of two of the same images: ``dim`` columns of ``left``, and ``right``."""
    assert left.array is not None
    assert right.array is not None
    table = np.empty((len(left.array), dim + right.array.shape[1]), np.float32)
    table[:, :dim], table[:, dim:] = left.array[:, :dim], right.array
    both = copy(left)
    both.array = table
    return both


def paper_views_of(seed: int, image: npt.NDArray[np.uint8], row: int) -> npt.NDArray[np.uint8]:
    """Return those of `paper_views` of an image (H, W, 3) that are not the image itself."""
    return paper_views(image, seed, row)[1:]


def drawn_views(
    augment: Augmenter, number: int, image: npt.NDArray[np.uint8], row: int
) -> npt.NDArray[np.uint8]:
    """Return so many views of an image (H, W, 3) as augmentation draws them."""
    return np.stack([augment(image, epoch, row) for epoch in range(number)])


Known = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]
"""Embeddings (N, d), labels (N,) and sources (N,) of the training part."""


@runtime_checkable
class Starting(Protocol):
    """A head that is set from its training embeddings before the first step.

    One with a true ``closed_form`` is finished then.
    """

    def start(
        self,
        embeddings: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        weights: torch.Tensor | None = None,
        sources: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Set the head.

        Args:
            embeddings: (N, d).
            labels: (N,).
            weights: what an image of each class counts (C,); ``None`` for 1.
            sources: (N,) which image an embedding shows; ``None`` where each shows one of its own.
        """


def start(module: L.LightningModule, known: Known) -> None:
    """Set the head of ``module``, where it has a ``start``, with the weights that its loss has."""
    head = module.network if hasattr(module, "network") else module
    if isinstance(head, Starting):
        module.cpu()  # embeddings were made where the hardware is
        embeddings, labels, sources = known
        weights = getattr(getattr(module, "loss", None), "class_weights", None)
        head.start(embeddings, labels, weights, sources)


def fit_closed_form(
    module: L.LightningModule,
    data: L.LightningDataModule | None,
    known: Known,
    hardware: Hardware,
    history: History,
) -> None:
    """Set the head of ``module`` by its training embeddings; the history gets one row.

    The two terms of the dual loss are measured, not minimised: of its settings only the weights
    of the classes count.

    Args:
        module: around a head with a true ``closed_form``.
        data: has the loader of validation embeddings; ``None`` where there is no validation.
        known: embeddings, labels and sources of the training part, as for `Starting.start`.
        hardware: where validation is measured.
        history: of this stage.
    """
    start(module, known)
    embeddings, labels, _ = known
    module.eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(embeddings))
        terms = terms_of(cast(torch.nn.Module, module.loss)(logits, torch.from_numpy(labels)))
    measured: Mapping[str, float] = {}
    if data is not None:
        with interruptible():
            (measured,) = make_trainer(hardware).validate(module, data, verbose=False)
    module.train()  # as a stage by gradients leaves it
    train = {f"train_{name}": float(value) for name, value in terms.items()}
    history.rows.append({"stage": history.stage, "epoch": 0, "lr": 0.0, **measured, **train})
    history.write(history.rows)
