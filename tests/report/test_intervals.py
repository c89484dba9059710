import numpy as np
import pytest

from leukemia.report.intervals import bootstrap_weights, percentile, shown, wilson


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
