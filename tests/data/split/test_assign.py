import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia.data.split.grouped import JITTER, TOLERANCE, assign_groups
from tests.data.samples import imbalance

FRACTIONS = [0.5, 0.25, 0.25]


def held(counts, share_of, n_shares):
    return np.array([counts[share_of == share].sum(axis=0) for share in range(n_shares)])


def best_of_all(counts, fractions):
    """The least imbalance of any assignment in which no share lacks a class, by trying all."""
    tried = [
        held(counts, np.array(choice), len(fractions))
        for choice in itertools.product(range(len(fractions)), repeat=len(counts))
    ]
    whole = [imbalance(found, fractions) for found in tried if found.min() > 0]
    return min(whole, default=None)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=7),
    st.integers(0, 9),
)
def test_no_assignment_is_better_by_more_than_the_tolerance(rows, seed):
    counts = np.array([row for row in rows if sum(row)] + [(1, 1)])
    found = assign_groups(counts, FRACTIONS, np.random.default_rng(seed))
    best = best_of_all(counts, FRACTIONS)
    if best is None:
        assert found is None
        return
    assert found is not None
    shares = held(counts, found.share_of, 3)
    assert shares.min() > 0
    assert found.imbalance == pytest.approx(imbalance(shares, FRACTIONS))
    assert found.at_least <= best + 1e-6
    assert found.imbalance <= best + TOLERANCE * (1 + best / 2) + JITTER + 1e-6


def test_a_perfect_balance_is_found_where_drawing_would_miss_it():
    # Only these two groups of 7 and 3 together make half of class 0, and so on.
    counts = np.array([[7, 1], [3, 9], [5, 5], [2, 2], [3, 3]])
    found = assign_groups(counts, FRACTIONS, np.random.default_rng(0))
    assert found.imbalance == pytest.approx(0)
    assert found.share_of[0] == found.share_of[1] == 0
    assert found.share_of[2] != found.share_of[3] == found.share_of[4]


def test_a_thousand_single_images_are_balanced_to_the_image_and_drawn_by_the_seed():
    counts = np.eye(4, dtype=np.int64)[np.repeat(np.arange(4), 250)]
    found = [
        assign_groups(counts, [0.6, 0.2, 0.2], np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    for assignment in found:
        assert held(counts, assignment.share_of, 3) == pytest.approx(
            np.repeat([[150], [50], [50]], 4, axis=1), abs=1
        )
    assert (found[0].share_of == found[1].share_of).all()
    # By chance, 0.6^2 + 0.2^2 + 0.2^2 = 0.44 of the images are in the same share.
    assert 0.35 < (found[0].share_of == found[2].share_of).mean() < 0.53


def test_the_seed_chooses_among_assignments_that_are_nearly_equal():
    counts = np.random.default_rng(0).integers(1, 30, (40, 2))
    found = {
        tuple(assign_groups(counts, FRACTIONS, np.random.default_rng(seed)).share_of)
        for seed in range(4)
    }
    assert len(found) == 4


@pytest.mark.parametrize("counts", [[[5, 1], [4, 0], [3, 0]], [[1, 1], [1, 1]]])
def test_what_cannot_be_is_told(counts):
    assert assign_groups(np.array(counts), FRACTIONS, np.random.default_rng(0)) is None
