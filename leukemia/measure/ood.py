"""Out of distribution: how far an image lies from those that a run was validated on."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukemia.disk import write_bytes
from leukemia.errors import UserError

Floats = NDArray[np.float64]

ACCEPTED: Final = 0.95
"""Of the validation images, that lie within the limit."""


@dataclass(frozen=True)
class Known:
    """The validation images as the network sees them, and how far from them an image may lie.

    The score of an image is the distance of its embedding from the nearest of theirs, all
    brought to length 1: Sun et al. (2022), arXiv:2204.06507, with one neighbour.

    Args:
        bank: N embeddings of length 1, (N, d), float32.
        limit: a score above it is out of distribution.
    """

    bank: NDArray[np.float32]
    limit: float

    def score(self, embeddings: NDArray[np.floating]) -> Floats:
        """Return the scores (M,), in [0, 2], of embeddings (M, d); nan where one is not finite.

        Raises:
            UserError: the embeddings are of another size than those of the bank.
        """
        if embeddings.shape[1:] != self.bank.shape[1:]:
            raise UserError(
                f"ood.npz is of another network: its embeddings have {self.bank.shape[1]} numbers, "
                f"but this one's have {embeddings.shape[1]}. Train the run anew."
            )
        return _distances(_of_length_one(embeddings) @ self.bank.T)

    def save(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, bank=self.bank, limit=self.limit)
        write_bytes(path, buffer.getvalue())


def fit_known(embeddings: NDArray[np.floating]) -> Known:
    """Fit on the embeddings of validation: the limit accepts 95% of them.

    Each is scored by its distance from the others: no image vouches for itself.

    Args:
        embeddings: (N, d) of one view of each image.

    Returns:
        What is known; without a limit (infinite) where there is one image alone.
    """
    bank = _of_length_one(embeddings)
    if len(bank) < 2:
        return Known(bank, np.inf)
    cosines = bank @ bank.T
    np.fill_diagonal(cosines, -1)
    scores = _distances(cosines)
    return Known(bank, float(np.quantile(scores, ACCEPTED, method="higher")))


def told(flags: NDArray[np.bool_]) -> str:
    """Say in a sentence how many of the images of a part are out of distribution."""
    return (
        f"{flags.mean():.1%} of these images are out of distribution: farther from validation, to "
        f"the network, than {ACCEPTED:.0%} of validation is from itself."
    )


def read_known(path: Path) -> Known:
    """Read what `Known.save` wrote.

    Raises:
        UserError: it is no such file, or its numbers are none that `fit_known` finds.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            bank, limit = archive["bank"], archive["limit"]
        if bank.ndim != 2 or bank.dtype != np.float32 or 0 in bank.shape:
            raise ValueError(f"its bank is {bank.dtype} of shape {bank.shape}")
        # Written so that nan fails the comparison too; a row of zeros stays one.
        lengths = np.linalg.norm(bank, axis=1)
        if not ((np.abs(lengths - 1) < 1e-3) | (lengths == 0)).all():
            raise ValueError("its bank holds what has not length 1")
        if limit.shape != () or not (0 <= limit < 2.001 or (np.isinf(limit) and len(bank) == 1)):
            raise ValueError(f"its limit is {limit}")
        return Known(bank, float(limit))
    # What is no archive of arrays makes numpy raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"'{path}' cannot be used: {reason}. Bring it back from a copy, or train the run anew."
        ) from error


def _of_length_one(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    rows = np.asarray(embeddings, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def _distances(cosines: NDArray[np.float32]) -> Floats:
    """Return the distances (M,) from the nearest of N: cosines (M, N)."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosines.max(axis=1).astype(np.float64), 0)))
