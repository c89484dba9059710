"""Splits that keep related images together and still balance the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from leukemia.data.files.manifest import Manifest
from leukemia.data.split.groups import label_conflicts, whole_groups
from leukemia.data.split.parts import PARTS, Split, class_folder
from leukemia.errors import UserError, check_count

TOLERANCE: Final = 0.002
"""The search ends where no assignment can have an imbalance lower by (about) this."""

JITTER: Final = 0.002
"""Imbalance that a seed's preference among assignments may cost."""

# The search is cut off by a count, as a clock would make the parts depend on the machine.
_NODES: Final = 500


@dataclass(frozen=True, eq=False)
class Assignment:
    """Groups in shares.

    Args:
        share_of: the share of each of G groups, (G,).
        imbalance: over all classes, the sum of the largest difference between the part of the
            class that a share holds and the fraction due to it.
        at_least: no assignment has less imbalance than this.
    """

    share_of: NDArray[np.int64]
    imbalance: float
    at_least: float


def assign_groups(
    counts: NDArray[np.int64], fractions: Sequence[float], rng: np.random.Generator
) -> Assignment | None:
    """Assign each group to a share, so that imbalance is least and no share lacks a class.

    Args:
        counts: images of each of C classes in each of G groups, (G, C); no class is empty.
        fractions: of each of S shares, (S,), above 0 and with sum 1.
        rng: chooses among assignments that are nearly equal.

    Returns:
        An assignment within `TOLERANCE` and `JITTER` of the best, unless `Assignment.at_least`
        says that this was not shown; ``None`` where some share must lack a class.
    """
    # Groups with equal counts are one variable: hundreds of single images cost nothing.
    kinds, kind_of, n_of_kind = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    (n_kinds, n_classes), n_shares = kinds.shape, len(fractions)
    # The unknowns: groups of each kind in each share; then, for each class, 1 + its largest
    # difference. The 1 makes the solver's relative tolerance mean something near a perfect balance.
    n_placed = n_kinds * n_shares
    totals = counts.sum(axis=0)
    part_of_class = sparse.kron((kinds / totals).T, sparse.eye_array(n_shares))
    largest = sparse.kron(sparse.eye_array(n_classes), np.ones((n_shares, 1)))
    placed = sparse.kron(sparse.eye_array(n_kinds), np.ones((1, n_shares)))
    due = np.tile(fractions, n_classes)
    no_limit = np.full(len(due), np.inf)
    constraints = LinearConstraint(
        sparse.block_array(
            [
                [placed, None],
                [part_of_class, -largest],
                [part_of_class, largest],
                [part_of_class, None],
            ],
            format="csr",
        ),
        # Half an image at least means one at least, safe from rounding.
        np.concatenate([n_of_kind, -no_limit, due + 1, np.repeat(0.5 / totals, n_shares)]),
        np.concatenate([n_of_kind, due - 1, no_limit, no_limit]),
    )
    preference = rng.uniform(0, JITTER / len(counts), n_placed)
    solved = milp(
        np.concatenate([preference, np.ones(n_classes)]),
        constraints=constraints,
        bounds=Bounds(
            np.concatenate([np.zeros(n_placed), np.ones(n_classes)]),
            np.concatenate([np.repeat(n_of_kind, n_shares), np.full(n_classes, 2)]),
        ),
        integrality=np.concatenate([np.ones(n_placed), np.zeros(n_classes)]),
        options={"mip_rel_gap": TOLERANCE / n_classes, "node_limit": _NODES},
    )
    if solved.x is None:
        return None
    in_share = np.rint(solved.x[:n_placed]).astype(np.int64).reshape(n_kinds, n_shares)
    share_of = np.empty(len(counts), dtype=np.int64)
    for kind, n_in_share in enumerate(in_share):
        members = rng.permutation(np.flatnonzero(kind_of.ravel() == kind))
        share_of[members] = np.repeat(np.arange(n_shares), n_in_share)
    found = (kinds / totals).T @ in_share
    imbalance = float(np.abs(found - np.asarray(fractions)).max(axis=1).sum())
    at_least = min(imbalance, max(0.0, solved.mip_dual_bound - n_classes - JITTER))
    return Assignment(share_of, imbalance, at_least)


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


_EXACT = 1e-9  # a smaller difference is one of rounding
_WORTH_A_NOTE = 0.02  # summed over classes, as `Assignment.imbalance`

_REMEDY = (
    "make smaller groups, take fewer folds, add images, or leave the class out of "
    "data.classes.names."
)


def grouped_split(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
) -> Split:
    """Split by whole groups, with every class as near to its fractions as can be.

    Args:
        manifest: the N images; their order does not matter.
        groups: group ids, (N,); a group may hold several classes.
        n_classes: number of classes.
        seed: any integer from 0 on; chooses among splits that are nearly equal.
        fractions: of train, val and test.

    Returns:
        The parts; their union is the manifest. A note tells the balance reached.

    Raises:
        UserError: bad fractions, or no such split has every class in every part.
    """
    check_fractions(fractions)
    shares, note = _share_out(manifest, groups, n_classes, fractions, PARTS, stream(seed, GROUPED))
    parts = dict(zip(PARTS, shares, strict=True))
    return Split(parts, groups, (*label_conflicts(manifest), note))


def kfold_split(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    folds: int = 5,
    fold: int = 0,
) -> Split:
    """Divide whole groups into folds alike in their classes: one is test, the next validation.

    Args:
        manifest: the N images; their order does not matter.
        groups: group ids, (N,); a group may hold several classes.
        n_classes: number of classes.
        seed: any integer from 0 on; the folds are the same for every ``fold``.
        folds: how many, 3 or more.
        fold: which one is the test part, from 0; validation is the next one, or the first.

    Returns:
        The parts; their union is the manifest, and that of all folds' test parts is too.

    Raises:
        UserError: a bad setting, or no such folds have every class in every fold.
    """
    if not isinstance(folds, int) or folds < 3:
        raise UserError(
            f"Expected split.folds to be 3 or more (train, val and test), but got {folds}."
        )
    if not isinstance(fold, int) or not 0 <= fold < folds:
        raise UserError(f"Expected split.fold to be from 0 to {folds - 1}, but got {fold}.")
    names = [f"fold {number}" for number in range(folds)]
    shares, note = _share_out(
        manifest, groups, n_classes, [1 / folds] * folds, names, stream(seed, FOLDS)
    )
    test, val = shares[fold], shares[(fold + 1) % folds]
    train = np.setdiff1d(np.arange(len(manifest)), np.concatenate([test, val]))
    parts = {"train": train, "val": val, "test": test}
    return Split(parts, groups, (*label_conflicts(manifest), note))


def _share_out(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    fractions: Sequence[float],
    names: Sequence[str],
    rng: np.random.Generator,
) -> tuple[list[NDArray[np.int64]], str]:
    """Return the rows of each share, and a note of the balance reached."""
    members = whole_groups(range(len(manifest)), groups, manifest)
    counts = np.array(
        [np.bincount(manifest.labels[group], minlength=n_classes) for group in members]
    )
    for label, n_groups in enumerate((counts > 0).sum(axis=0)):
        if n_groups < len(names):
            raise UserError(
                f"Expected images of every class in {len(names)} or more groups, one each for "
                f"{', '.join(names)}, but class {class_folder(manifest, label)} lies in "
                f"{n_groups}: {_REMEDY}"
            )
    found = assign_groups(counts, fractions, rng)
    if found is None:
        raise UserError(
            f"Found no way to keep {len(members)} groups whole and have every class in "
            f"{', '.join(names)}: {_REMEDY}"
        )
    shares = [
        np.array(sorted(row for g in np.flatnonzero(found.share_of == share) for row in members[g]))
        for share in range(len(names))
    ]
    images = np.array([counts[found.share_of == share].sum(axis=0) for share in range(len(names))])
    off = images / counts.sum(axis=0) - np.asarray(fractions)[:, None]
    share, label = np.unravel_index(np.abs(off).argmax(), off.shape)
    by_class = "; ".join(
        f"{class_folder(manifest, label)} {' / '.join(map(str, images[:, label]))}"
        for label in range(n_classes)
    )
    note = f"Images in {' / '.join(names)}, {len(members)} groups kept whole: {by_class}. "
    if abs(off[share, label]) < _EXACT:
        note += "Every part holds its due of every class."
    else:
        held, due = shares_apart(off[share, label] + fractions[share], fractions[share])
        note += (
            f"Furthest from its due: {names[share]} holds {held} of class "
            f"{class_folder(manifest, int(label))}, not {due}."
        )
    if found.imbalance - found.at_least > _WORTH_A_NOTE:
        note += (
            " A better balance was not ruled out: summed over classes, the largest differences "
            f"are {100 * found.imbalance:.1f} points, at best {100 * found.at_least:.1f}."
        )
    return shares, note
