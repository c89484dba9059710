"""Heads that know their data before any gradient: those with a method ``start``."""

from collections.abc import Mapping
from typing import Protocol, cast, runtime_checkable

import lightning as L
import numpy as np
import numpy.typing as npt
import torch

from leukemia.models.loss import terms_of
from leukemia.training.hardware import Hardware
from leukemia.training.stage import History, interruptible, make_trainer

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
