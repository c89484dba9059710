import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia.data.split.grouped import draw_images, share_out, stream
from leukemia.errors import UserError


def pool_of(sizes: list[int]) -> list[list[int]]:
    rows = iter(range(sum(sizes)))
    return [list(itertools.islice(rows, size)) for size in sizes]


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), max_size=9), st.integers(0, 20), st.integers(0, 99))
def test_a_draw_is_as_near_to_the_number_asked_for_as_whole_groups_allow(sizes, n, seed):
    pool = pool_of(sizes)
    drawn = draw_images(pool, n, stream(seed, 0))
    sums = {sum(c) for k in range(len(sizes) + 1) for c in itertools.combinations(sizes, k)}
    assert len(drawn) == max(s for s in sums if s <= n)
    assert len(set(drawn)) == len(drawn)
    for group in pool:
        assert len(set(group) & set(drawn)) in (0, len(group))


def test_every_image_is_as_likely_to_be_drawn():
    pool = pool_of([1] * 20)
    times = np.zeros(20)
    for seed in range(2000):
        times[draw_images(pool, 5, stream(seed, 0))] += 1
    # 500 expected each, standard deviation 19.
    assert np.abs(times - 500).max() < 5 * 19


def test_every_image_is_as_likely_in_each_share():
    pool = pool_of([1] * 10)
    times = np.zeros((3, 10))
    for seed in range(2000):
        for share, rows in enumerate(share_out(pool, (0.6, 0.2, 0.2), stream(seed, 0))):
            times[share, rows] += 1
    # 1200, 400 and 400 expected, standard deviation at most 22.
    assert np.abs(times - np.array([[1200], [400], [400]])).max() < 5 * 22


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=3, max_size=30), st.integers(0, 99))
def test_shares_are_complete_not_empty_and_near_their_due(sizes, seed):
    pool = pool_of(sizes)
    fractions = (0.6, 0.3, 0.1)
    shares = share_out(pool, fractions, stream(seed, 0))
    assert sorted(itertools.chain(*shares)) == list(range(sum(sizes)))
    for share, fraction in zip(shares, fractions, strict=True):
        assert share
        assert abs(len(share) - fraction * sum(sizes)) <= 2 * max(sizes)


@pytest.mark.parametrize("seed", range(5))
def test_single_images_make_up_for_a_large_group(seed):
    shares = share_out(pool_of([1] * 24 + [6]), (0.6, 0.2, 0.2), stream(seed, 0))
    assert [len(share) for share in shares] == [18, 6, 6]


def test_streams_differ_by_purpose_and_seed_and_agree_otherwise():
    first = {stream(*words).integers(2**60) for words in [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]}
    assert len(first) == 5
    assert stream(0, 1).integers(2**60) in first


@pytest.mark.parametrize("seed", [-1, 1.5, "one"])
def test_a_seed_that_is_no_whole_number_from_0_on_is_refused(seed):
    with pytest.raises(UserError, match=f"seed to be a whole number from 0 on, but got .*{seed}"):
        stream(seed, 1)
