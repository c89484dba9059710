"""Classifiers on embeddings."""

from collections.abc import Sequence

import torch
from torch import nn

from leukemia.check import check_choice, check_count, check_number
from leukemia.errors import UserError

WIDTHS = (1024, 2048, 1024, 512, 256, 64, 16)
SKIP_ALONE = 2  # pairs from the input on, in which dropout falls on the skip alone
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
        check_count("the number of model.head.widths", len(widths))
        for width in widths:
            check_count("each of model.head.widths", width)
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


class CorrectedHead(nn.Module):
    """A linear head, corrected by the published residual classifier.

    logits = linear(whitened embedding) + correction(embedding). The last layer of the correction
    starts at zero, so the head starts as its linear part, which `fit_discriminant` can set; and
    whatever the correction learns it learns from what the linear part gets wrong. Each may have
    its own part of the embedding: the linear one its first numbers, the correction the rest.

    Args:
        in_dim: size d of an embedding.
        widths: of the correction, see `ResidualHead`.
        n_classes: number of classes C.
        dropout: of the correction, in [0, 1).
        standardize: of the correction, see `ResidualHead`.
        whiten: of the linear part, see `LinearHead`.
        linear_dim: how many numbers of an embedding, from the first on, the linear part reads;
            the correction reads those after them. ``None``: both read all.

    Raises:
        UserError: a setting that cannot be, or not fewer numbers than an embedding has.
    """

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int] = WIDTHS,
        n_classes: int = 4,
        dropout: float = 0.5,
        *,
        standardize: bool = False,
        whiten: bool = False,
        linear_dim: int | None = None,
    ) -> None:
        """Build both parts."""
        super().__init__()
        if linear_dim is not None and not 1 <= linear_dim < in_dim:
            raise UserError(
                f"Expected model.head.linear_dim to be null or from 1 to {in_dim - 1}, less than "
                f"the numbers of an embedding, but got {linear_dim}."
            )
        self.linear_dim = in_dim if linear_dim is None else linear_dim
        self.first = 0 if linear_dim is None else linear_dim
        self.linear = LinearHead(self.linear_dim, n_classes, whiten=whiten)
        rest = in_dim - self.first
        self.correction = ResidualHead(rest, widths, n_classes, dropout, standardize=standardize)
        nn.init.zeros_(self.correction.classify.weight)
        nn.init.zeros_(self.correction.classify.bias)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, C) of embeddings (N, in_dim)."""
        start: torch.Tensor = self.linear(embeddings[:, : self.linear_dim])
        correction: torch.Tensor = self.correction(embeddings[:, self.first :])
        return start + correction


def linear_part(head: nn.Module) -> tuple[LinearHead, int | None]:
    """Return the linear head of a head, and how many numbers of an embedding it reads.

    Args:
        head: linear, or corrected.
    """
    if isinstance(head, CorrectedHead):
        return head.linear, head.linear_dim
    assert isinstance(head, LinearHead)
    return head, None


def make_head(
    name: str,
    in_dim: int,
    n_classes: int = 4,
    widths: Sequence[int] = WIDTHS,
    dropout: float = 0.5,
    *,
    standardize: bool = False,
    whiten: bool = False,
    linear_dim: int | None = None,
) -> ResidualHead | LinearHead | CorrectedHead:
    """Return a head by its name.

    Args:
        name: ``residual``, ``linear`` or ``corrected``.
        in_dim: size d of an embedding.
        n_classes: number of classes.
        widths: see `ResidualHead`; ``linear`` has none.
        dropout: in [0, 1).
        standardize: see `ResidualHead`.
        whiten: see `LinearHead`; ``residual`` does not.
        linear_dim: of ``corrected``, see `CorrectedHead`.

    Raises:
        UserError: an unknown name, or a setting of ``model.head`` that cannot be.
    """
    check_choice("model.head.name", name, ("residual", "linear", "corrected"))
    if name == "corrected":
        return CorrectedHead(
            in_dim,
            widths,
            n_classes,
            dropout,
            standardize=standardize,
            whiten=whiten,
            linear_dim=linear_dim,
        )
    if name == "linear":
        return LinearHead(in_dim, n_classes, dropout, standardize=standardize, whiten=whiten)
    return ResidualHead(in_dim, widths, n_classes, dropout, standardize=standardize)


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
