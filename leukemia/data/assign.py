"""Share out whole groups so that every class comes as near as can be to its due in each share.

An integer programme, solved by HiGHS (Q. Huangfu, J. A. J. Hall (2018),
doi:10.1007/s12532-017-0130-5). Drawing whole groups at random and hoping leaves a class far from
its due where groups are large or hold several classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

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
