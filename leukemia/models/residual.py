"""A deep residual head that starts as a linear one and learns what that leaves."""

from collections.abc import Sequence

import torch
from torch import nn

from leukemia.errors import UserError
from leukemia.models.head import WIDTHS, LinearHead, ResidualHead


class CorrectedHead(nn.Module):
    """A linear head, corrected by the published residual classifier.

    logits = linear(whitened embedding) + correction(embedding). The last layer of the correction
    starts at zero, so the head starts as its linear part, which `fit_discriminant` can set; and
    whatever the correction learns it learns from what the linear part gets wrong.

    Args:
        in_dim: size d of an embedding.
        widths: of the correction, see `ResidualHead`.
        n_classes: number of classes C.
        dropout: of the correction, in [0, 1).
        standardize: of the correction, see `ResidualHead`.
        whiten: of the linear part, see `LinearHead`.
        linear_dim: how many numbers of an embedding, from the first on, the linear part reads;
            ``None`` for all. The correction always reads all.

    Raises:
        UserError: a setting that cannot be, or more numbers than an embedding has.
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
        self.linear_dim = in_dim if linear_dim is None else linear_dim
        if not 1 <= self.linear_dim <= in_dim:
            raise UserError(
                f"Expected model.head.linear_dim to be null or from 1 to {in_dim}, the numbers of "
                f"an embedding, but got {linear_dim}."
            )
        self.linear = LinearHead(self.linear_dim, n_classes, whiten=whiten)
        self.correction = ResidualHead(in_dim, widths, n_classes, dropout, standardize=standardize)
        nn.init.zeros_(self.correction.classify.weight)
        nn.init.zeros_(self.correction.classify.bias)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, C) of embeddings (N, in_dim)."""
        start: torch.Tensor = self.linear(embeddings[:, : self.linear_dim])
        correction: torch.Tensor = self.correction(embeddings)
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
