"""Classifiers on embeddings."""

from collections.abc import Sequence

import torch
from torch import nn

from leukemia.errors import UserError, check_count, check_number

WIDTHS = (1024, 2048, 1024, 512, 256, 64, 16)
SKIP_ALONE = 2  # pairs from the input on, in which dropout falls on the skip alone
MOST_PAIRS, MOST_WIDTH = 64, 16384  # of a head that fits a memory
LONGEST = 4096  # an embedding whose covariance is decomposed in seconds


class ResidualPair(nn.Module):
    """Linear to a new width, ReLU, dropout; linear with a skip around it, ReLU, BatchNorm.

    Args:
        in_dim: width of the input.
        width: width of the output.
        dropout: share of the values set to zero after the first ReLU.
        skip_alone: whether dropout falls on the skip alone: the second linear layer then takes
            the values as they were before it.
    """

    def __init__(
        self, in_dim: int, width: int, dropout: float, *, skip_alone: bool = False
    ) -> None:
        """Build the layers."""
        super().__init__()
        self.skip_alone = skip_alone
        self.widen = nn.Linear(in_dim, width)
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (N, width) of inputs (N, in_dim)."""
        hidden = self.widen(inputs).relu()
        skip = self.dropout(hidden)
        branch = self.residual(hidden if self.skip_alone else skip)
        out: torch.Tensor = self.norm((branch + skip).relu())
        return out


class ResidualHead(nn.Module):
    """The deep residual classifier (paper section 5.2; the rest from the authors' code).

    A `ResidualPair` for each width, with dropout in all but the last, and a final linear layer:
    15 linear layers with the published widths. In the first two pairs dropout falls on the skip
    alone, in the others on both ways. Linear layers start as torch starts them (He-uniform with
    a = sqrt(5)): the authors' code has a function for Xavier-normal weights that does nothing.

    Args:
        in_dim: size d of an embedding.
        widths: width of each pair.
        n_classes: number of classes.
        dropout: share of the values set to zero inside a pair, in [0, 1).
        standardize: bring every embedding feature to mean 0 and variance 1 first, with the
            statistics of the batch in training and running ones after it.

    Raises:
        UserError: no width, a width that is no whole number from 1 on, or a dropout out of range.
    """

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int] = WIDTHS,
        n_classes: int = 4,
        dropout: float = 0.5,
        *,
        standardize: bool = False,
    ) -> None:
        """Build the layers."""
        super().__init__()
        check_count("the number of model.head.widths", len(widths), most=MOST_PAIRS)
        for width in widths:
            check_count("each of model.head.widths", width, most=MOST_WIDTH)
        _check_dropout(dropout)
        self.standardize = _standardizer(in_dim, standardize)
        last = len(widths) - 1
        self.pairs = nn.Sequential(
            *(
                ResidualPair(before, width, dropout if i < last else 0.0, skip_alone=i < SKIP_ALONE)
                for i, (before, width) in enumerate(zip((in_dim, *widths), widths, strict=False))
            )
        )
        self.classify = nn.Linear(widths[-1], n_classes)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, n_classes) of embeddings (N, in_dim)."""
        logits: torch.Tensor = self.classify(self.pairs(self.standardize(embeddings)))
        return logits


class Whitening(nn.Module):
    """Embeddings in fixed coordinates, those of `fit_discriminant`; as they come until then.

    Args:
        dim: size d of an embedding.

    Raises:
        UserError: embeddings that are too long for a covariance.
    """

    mean: torch.Tensor
    matrix: torch.Tensor

    def __init__(self, dim: int) -> None:
        """Change nothing yet."""
        super().__init__()
        check_covariance(dim)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("matrix", torch.eye(dim))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, d), in any precision around it: the matrix enlarges rounding."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return (embeddings.float() - self.mean) @ self.matrix


class LinearHead(nn.Module):
    """One linear layer, its weights Xavier-normal and its biases zero at the start.

    Args:
        in_dim: size d of an embedding.
        n_classes: number of classes.
        dropout: share of the embedding set to zero in training, in [0, 1).
        standardize: see `ResidualHead`.
        whiten: bring embeddings into other coordinates (`Whitening`) instead.

    Raises:
        UserError: a dropout out of range, or embeddings that are too long to whiten.
    """

    def __init__(
        self,
        in_dim: int,
        n_classes: int = 4,
        dropout: float = 0.0,
        *,
        standardize: bool = False,
        whiten: bool = False,
    ) -> None:
        """Build and initialise the layers."""
        super().__init__()
        _check_dropout(dropout)
        self.standardize = Whitening(in_dim) if whiten else _standardizer(in_dim, standardize)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(in_dim, n_classes)
        self.apply(_start_xavier)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, n_classes) of embeddings (N, in_dim)."""
        logits: torch.Tensor = self.classify(self.dropout(self.standardize(embeddings)))
        return logits


def check_covariance(dim: int) -> None:
    """Refuse embeddings that are too long for a covariance (d, d)."""
    if dim > LONGEST:
        raise UserError(
            f"A discriminant takes embeddings of up to {LONGEST} numbers, but these have {dim}: "
            f"use head=probe or head=linear."
        )


def _check_dropout(dropout: float) -> None:
    check_number("model.head.dropout", dropout, "in [0, 1)", lambda p: 0 <= p < 1)


def _standardizer(in_dim: int, wanted: bool) -> nn.Module:
    return nn.BatchNorm1d(in_dim, affine=False) if wanted else nn.Identity()


def _start_xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
