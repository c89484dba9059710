"""Draw images at random by whole groups, whatever the order of the rows."""

from collections.abc import Sequence

import numpy as np

from leukemia.check import check_count
from leukemia.errors import UserError

# Second word of the seed: each purpose has a stream of its own (1 is the order of batches).
VALIDATION, STRATIFIED, BALANCE, GROUPED, FOLDS, POOLED = 11, 12, 13, 14, 15, 16


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """Return the random stream of a purpose.

    Raises:
        UserError: a seed that is no whole number from 0 on.
    """
    check_count("seed", seed, least=0)
    return np.random.default_rng([seed, *purpose])


def check_fractions(fractions: object) -> None:
    """Refuse what cannot be the fractions of train, val and test.

    Raises:
        UserError: they are not three numbers above 0 with sum 1.
    """
    listed = list(fractions) if isinstance(fractions, Sequence) else []
    numeric = all(isinstance(f, int | float) and f > 0 for f in listed)
    if len(listed) != 3 or not numeric or abs(sum(listed) - 1) > 1e-6:
        raise UserError(
            f"Expected split.fractions to be three numbers above 0 (train, val, test) that sum "
            f"to 1, but got {fractions}."
        )


def shares_apart(one: float, other: float) -> tuple[str, str]:
    """Return two shares in percent, with as many digits as it takes to tell them apart."""
    for digits in range(1, 16):
        texts = f"{100 * one:.{digits}f}%", f"{100 * other:.{digits}f}%"
        if texts[0] != texts[1]:
            return texts
    return f"{100 * one:.1f}%", f"{100 * other:.1f}%"


def draw_images(pool: list[list[int]], n: int, rng: np.random.Generator) -> list[int]:
    """Draw groups that hold n images together.

    Args:
        pool: rows of each group.
        n: images wanted.
        rng: the random stream.

    Returns:
        The rows drawn: exactly n where some choice of groups holds n, otherwise as many below n
        as a choice can.
    """
    drawn = [pool[i] for i in rng.permutation(len(pool))]
    # Bit s of reachable[i] is set where groups i, i + 1, ... can make s images.
    reachable = [1]
    for group in reversed(drawn):
        reachable.append((reachable[-1] | reachable[-1] << len(group)) & ((2 << n) - 1))
    reachable.reverse()
    wanted = reachable[0].bit_length() - 1
    rows: list[int] = []
    for group, later in zip(drawn, reachable[1:], strict=True):
        left = wanted - len(rows) - len(group)
        if left >= 0 and later >> left & 1:
            rows += group
    return rows


def share_out(
    pool: list[list[int]], fractions: Sequence[float], rng: np.random.Generator
) -> list[list[int]]:
    """Share groups out at random.

    Each group in turn, the larger ones first, goes where the least of its due has arrived. So
    a share differs from its due by at most twice the largest group, and no share stays empty
    while there are as many groups as shares.

    Args:
        pool: rows of each group.
        fractions: what is due to each share.
        rng: the random stream.

    Returns:
        The rows of each share.
    """
    shuffled = [pool[i] for i in rng.permutation(len(pool))]
    shares: list[list[int]] = [[] for _ in fractions]
    for group in sorted(shuffled, key=len, reverse=True):
        filled = [len(s) / f for s, f in zip(shares, fractions, strict=True)]
        shares[filled.index(min(filled))] += group
    return shares
