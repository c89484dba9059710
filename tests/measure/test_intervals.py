import numpy as np
import pytest

from leukemia.measure.intervals import (
    bootstrap_weights,
    members,
    percentile,
    proportion,
    ratio,
    shown,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # R. G. Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # z^2 / (n + z^2) for n = 10, and its mirror image.
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_agrees_with_the_literature(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_reaches_exactly_0_and_1_at_the_ends():
    assert wilson(0, 7)[0] == 0
    assert wilson(7, 7)[1] == 1


def test_wilson_widens_with_confidence():
    low, high = wilson(30, 40, confidence=0.99)
    assert low < wilson(30, 40)[0] < wilson(30, 40)[1] < high


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match=f"{successes} of {n}"):
        wilson(successes, n)


def test_each_resample_draws_as_many_groups_as_there_are():
    weights = bootstrap_weights(7, 500, seed=0)
    assert weights.shape == (500, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)


def test_draws_follow_the_seed_and_0_is_one():
    assert (bootstrap_weights(9, 20, seed=0) == bootstrap_weights(9, 20, seed=0)).all()
    assert (bootstrap_weights(9, 20, seed=0) != bootstrap_weights(9, 20, seed=1)).any()


def test_percentile_cuts_a_fortieth_on_each_side_and_passes_over_undefined_resamples():
    values = np.r_[np.arange(101.0), np.nan, np.nan]
    assert percentile(values) == pytest.approx((2.5, 97.5))
    assert percentile(np.full(5, np.nan)) is None


def test_shown():
    assert shown(0.97849, [0.9, 1.0]) == "0.978 [0.900, 1.000]"
    assert shown(0.5) == "0.500"
    assert shown(None, [0, 1]) == "n/a"


def flags(text):
    return np.array([c == "1" for c in text])


def test_a_proportion_counts_trials_only():
    assert proportion(flags("1101"), flags("1110")) == wilson(2, 3)
    assert proportion(flags("1"), flags("1")) == wilson(1, 1)
    assert proportion(flags("11"), flags("00")) is None


def test_a_proportion_of_groups_is_that_of_resampled_groups():
    success, trial, groups = (
        flags("11010010"),
        flags("11111101"),
        np.array([5, 5, 5, 2, 2, 9, 9, 9]),
    )
    shares = []
    for row in bootstrap_weights(3, 50, seed=1):
        weight = np.repeat(row[[1, 0, 2]], [3, 2, 3])  # 5, 2 and 9 in order of size
        if (weight * trial).sum():
            shares.append((weight * trial * success).sum() / (weight * trial).sum())
    found = proportion(success, trial, groups, n_boot=50, seed=1)
    assert found == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))


def test_a_proportion_of_0_or_1_has_its_groups_as_trials():
    groups = np.array([0, 0, 1, 1, 2])
    assert proportion(flags("11111"), flags("11110"), groups) == wilson(2, 2)
    assert proportion(flags("00001"), flags("11110"), groups) == wilson(0, 2)


def test_a_proportion_within_one_group_has_no_interval():
    groups = np.array([0, 0, 1, 1, 2])
    for success in ("10000", "11000", "00000"):
        assert proportion(flags(success), flags("11000"), groups) is None
    assert proportion(flags("00001"), flags("00001"), groups) == wilson(1, 1)
    assert proportion(flags("10101"), flags("11111"), np.zeros(5, dtype=np.int64)) is None


def test_groups_are_counted_from_0_and_every_image_is_its_own_without_them():
    assert members(3, None).tolist() == [0, 1, 2]
    assert members(4, np.array([7, 3, 7, 9])).tolist() == [1, 0, 1, 2]
    with pytest.raises(ValueError, match="Expected 4 groups"):
        members(4, np.array([1, 2]))


def test_a_ratio_over_0_is_nan():
    found = ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
    assert found[0] == 0.25
    assert np.isnan(found[1])
