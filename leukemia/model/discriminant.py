"""A linear head in closed form, for embeddings of a frozen backbone."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from leukemia.data.datamodule import ArrayDataModule
from leukemia.errors import UserError
from leukemia.model.classifier import Classifier
from leukemia.model.fit import History, make_trainer
from leukemia.model.hardware import Hardware
from leukemia.model.head import LinearHead


@torch.no_grad()
def fit_discriminant(
    head: LinearHead,
    embeddings: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    weights: torch.Tensor | None = None,
) -> None:
    """Set a linear head by linear discriminant analysis.

    Its logits are the logarithms of the posterior under Gaussian classes of one covariance, up to
    a constant. The covariance is shrunk (Ledoit and Wolf, doi:10.1016/S0047-259X(03)00096-4), so
    embeddings may be longer than there are images.

    Args:
        head: without ``standardize``: the scale of the embeddings goes into the weights.
        embeddings: (N, d).
        labels: (N,), each of the head's classes at least twice.
        weights: what an image of each class counts (C,); ``None`` for 1.

    Raises:
        UserError: a class without two images.
    """
    n_classes = head.classify.out_features
    counts = np.bincount(labels, minlength=n_classes)
    if counts.min() < 2:
        raise UserError(
            f"head=discriminant needs two training images of each class or more, "
            f"but got {counts.tolist()}."
        )
    values = embeddings.astype(np.float64)
    mean, deviation = values.mean(0), values.std(0)
    deviation[deviation == 0] = 1
    rows = (values - mean) / deviation
    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(rows, labels)
    coefficients, offsets = found.coef_, found.intercept_
    if n_classes == 2:  # scikit-learn gives the difference of the two alone
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        offsets = np.concatenate([np.zeros_like(offsets), offsets])
    coefficients = coefficients / deviation
    head.classify.weight.copy_(torch.from_numpy(coefficients))
    head.classify.bias.copy_(torch.from_numpy(offsets - coefficients @ mean))
    if weights is not None:
        head.classify.bias.add_(weights.log())


def fit_discriminant_stage(
    module: Classifier, data: ArrayDataModule, hardware: Hardware, history: History
) -> None:
    """Set the head of ``module`` by its training embeddings; the history gets one row.

    The two terms of the dual loss are measured, not minimised: of its settings only the weights
    of the classes count.

    Args:
        module: around a `LinearHead`.
        data: embeddings.
        hardware: where validation is measured.
        history: of this stage.
    """
    assert isinstance(module.network, LinearHead)
    assert data.array is not None
    assert data.labels is not None
    rows = data.parts["train"]
    embeddings, labels = np.asarray(data.array[rows], np.float32), data.labels[rows]
    fit_discriminant(module.network, embeddings, labels, module.loss.class_weights)
    module.eval()
    with torch.no_grad():
        terms = module.loss(module(torch.from_numpy(embeddings)), torch.from_numpy(labels))
    (measured,) = make_trainer(hardware).validate(module, data, verbose=False)
    train = {f"train_{name}": float(value) for name, value in terms._asdict().items()}
    history.rows.append({"stage": history.stage, "epoch": 0, "lr": 0.0, **measured, **train})
    history.write(history.rows)
