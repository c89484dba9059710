"""The dual loss: which class, and whether it is cancer at all."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from leukemia.errors import UserError, check_number


class DualTerms(NamedTuple):
    """The loss and its two terms, each a mean over the batch; no BCE where no class is benign."""

    loss: torch.Tensor
    nll: torch.Tensor
    bce: torch.Tensor | None

    def named(self) -> dict[str, torch.Tensor]:
        """The terms that there are, by name."""
        return {name: term for name, term in self._asdict().items() if term is not None}


def is_cancer(labels: torch.Tensor, benign: Sequence[int]) -> torch.Tensor:
    """Return which labels (N,) are of a cancerous class.

    Args:
        labels: of N images.
        benign: labels of the classes that are not cancer, one or more.
    """
    cancer = labels != benign[0]
    for other in benign[1:]:
        cancer = cancer & (labels != other)
    return cancer


def terms_of(found: object) -> dict[str, torch.Tensor]:
    """Return what a loss returned, by name: ``loss``, and its terms where it tells them."""
    if isinstance(found, torch.Tensor):
        return {"loss": found}
    if isinstance(found, DualTerms):
        return found.named()
    return dict(found._asdict())  # type: ignore[attr-defined]


class DualLoss(nn.Module):
    """L = lambda_nll * NLL + lambda_bce * BCE, from logits (paper section 5.3.1).

    NLL is the negative log-likelihood of the class under the softmax. BCE is the binary
    cross-entropy of benign against cancer, where P(cancer) is the sum of the other classes'
    probabilities. The paper writes it over the pair [P(benign), P(cancer)] against a one-hot
    pair, of which torch's ``BCELoss`` takes the mean; both entries give the same value, so that
    mean is the plain binary cross-entropy computed here. With several benign classes P(benign) is
    their sum; with none there is no BCE, and the loss is lambda_nll * NLL.

    Computed without probabilities: the log-odds of cancer are the logsumexp of the cancer
    logits less that of the benign ones. So value and gradient are finite at any magnitude. Half
    precision is widened to float32.

    Args:
        lambda_nll: weight of the NLL, 0 or above.
        lambda_bce: weight of the BCE, 0 or above; not both 0. Not used where no class is benign.
        benign: labels of the classes that are not cancer: one, several, or ``None`` for none.
        cancer_weight: what an image of cancer weighs beside a benign one, above 0: above 1, a
            missed cancer costs more than a false alarm. Not used where no class is benign.
        class_weights: one weight a class besides, above 0. Both terms are means weighted by the
            labels' weights, as in torch's ``cross_entropy``.
        label_smoothing: in [0, 1), for the NLL as in torch's ``cross_entropy``.
        n_classes: number of classes C.

    Raises:
        UserError: a setting of ``loss`` that cannot be.
    """

    class_weights: torch.Tensor | None

    def __init__(
        self,
        lambda_nll: float = 1.0,
        lambda_bce: float = 1.0,
        benign: int | Sequence[int] | None = 0,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        *,
        cancer_weight: float = 1.0,
        n_classes: int = 4,
    ) -> None:
        """Check and store the settings."""
        super().__init__()
        check_number("loss.lambda_nll", lambda_nll, "a number from 0 on", lambda x: x >= 0)
        check_number("loss.lambda_bce", lambda_bce, "a number from 0 on", lambda x: x >= 0)
        if lambda_nll == 0 and lambda_bce == 0:
            raise UserError(
                "Expected loss.lambda_nll or loss.lambda_bce to be above 0, but got 0 for both."
            )
        check_number("loss.label_smoothing", label_smoothing, "in [0, 1)", lambda x: 0 <= x < 1)
        labels = [benign] if isinstance(benign, int) else sorted(set(benign or ()))
        if len(labels) >= n_classes or not all(0 <= label < n_classes for label in labels):
            raise ValueError(f"Expected benign to be some of {n_classes} labels, but got {benign}.")
        if not labels and lambda_nll == 0:
            raise UserError(
                "Expected loss.lambda_nll to be above 0 where no class is benign, but got 0."
            )
        self.lambda_nll, self.lambda_bce = lambda_nll, lambda_bce
        self.benign, self.label_smoothing = tuple(labels), label_smoothing
        self.cancer = tuple(label for label in range(n_classes) if label not in labels)
        check_number("loss.cancer_weight", cancer_weight, "above 0", lambda x: x > 0)
        weights = None if class_weights is None else _checked_weights(class_weights, n_classes)
        if cancer_weight != 1 and labels:
            weights = torch.ones(n_classes, dtype=torch.float64) if weights is None else weights
            weights = weights * cancer_weight
            weights[labels] /= cancer_weight
        # A setting, not a thing learnt: it comes from the config and not from a checkpoint.
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> DualTerms:
        """Return the loss and its terms, unweighted, of logits (N, C) and labels (N,)."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        nll = F.cross_entropy(logits, labels, weight=weights, label_smoothing=self.label_smoothing)
        if not self.benign:
            return DualTerms(self.lambda_nll * nll, nll, None)
        log_odds = self._log_odds(logits)
        cancer = is_cancer(labels, self.benign).to(logits.dtype)
        if weights is None:
            bce = F.binary_cross_entropy_with_logits(log_odds, cancer)
        else:
            each = weights[labels]
            summed = F.binary_cross_entropy_with_logits(log_odds, cancer, each, reduction="sum")
            bce = summed / each.sum()
        return DualTerms(self.lambda_nll * nll + self.lambda_bce * bce, nll, bce)

    def _log_odds(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the log-odds of cancer, (N,), of logits (N, C)."""
        if len(self.benign) > 1:
            benign, cancer = (logits[:, list(labels)] for labels in (self.benign, self.cancer))
            return cancer.logsumexp(dim=1) - benign.logsumexp(dim=1)
        # Slices cost less than a list of columns, and one logit is its own logsumexp.
        label = self.benign[0]
        cancer = torch.cat((logits[:, :label], logits[:, label + 1 :]), dim=1)
        return cancer.logsumexp(dim=1) - logits[:, label]

    def mass(self, labels: torch.Tensor) -> torch.Tensor | int:
        """Return what labels (N,) count for in a mean over batches: the sum of their weights."""
        return len(labels) if self.class_weights is None else self.class_weights[labels].sum()


def _checked_weights(weights: Sequence[float], n_classes: int) -> torch.Tensor:
    if isinstance(weights, str) or not isinstance(weights, Sequence) or len(weights) != n_classes:
        raise UserError(
            f"Expected loss.class_weights to be null or {n_classes} numbers, but got {weights!r}."
        )
    for weight in weights:
        check_number("each of loss.class_weights", weight, "above 0", lambda x: x > 0)
    return torch.tensor(weights, dtype=torch.float64)
