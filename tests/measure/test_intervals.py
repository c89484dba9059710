import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from leukemia.measure.intervals import (
    at_least,
    jackknife,
    mean_interval,
    members,
    of_difference,
    of_groups,
    of_share,
    positive,
    proportion,
    ratio,
    score,
    shown,
    student,
    usual_trials,
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


def test_wilson_agrees_with_statsmodels():
    confint = pytest.importorskip("statsmodels.stats.proportion").proportion_confint
    for successes, n in ((3, 7), (1, 29), (640, 652), (1, 2)):
        expected = confint(successes, n, method="wilson")
        assert wilson(successes, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="must"):
        wilson(successes, n)


@settings(deadline=None)
@given(n=st.integers(1, 3000), share=st.floats(0, 1))
def test_the_score_of_whole_trials_is_scipys_wilson(n, share):
    successes = round(share * n)
    found = score(np.array(successes / n), np.array(float(n)))
    assert found == pytest.approx(wilson(successes, n), abs=1e-9)


@settings(deadline=None)
@given(n=st.integers(1, 3000), share=st.floats(0, 1))
def test_the_one_sided_limit_is_scipys_exact_one(n, share):
    successes = round(share * n)
    test = stats.binomtest(successes, n, alternative="greater")
    expected = test.proportion_ci(0.95, method="exact").low
    found = at_least(np.array(successes / n), np.array(float(n)))
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_sensitivity_of_995_is_shown_by_598_cancers_without_a_miss():
    sure = np.ones(598, dtype=np.bool_)
    assert proportion(sure, sure)[0] >= 0.995 > proportion(sure[:-1], sure[:-1])[0]
    assert proportion(sure[:20], sure[:20]) == pytest.approx((0.05 ** (1 / 20), 1.0))
    assert proportion(~sure[:20], sure[:20]) == pytest.approx((0.0, 1 - 0.05 ** (1 / 20)))


def test_groups_are_worth_all_their_images_where_each_has_one_and_the_less_the_larger_they_are():
    assert usual_trials(np.ones(40, np.int64)) == 40
    # 10 groups of 9: each image has 8 beside it, at a correlation of one half.
    assert usual_trials(np.full(10, 9)) == 90 / 5
    assert usual_trials(np.array([[30, 30], [59, 1]])).tolist() == pytest.approx(
        [60 / (1 + 29 / 2), 60 / (1 + ((59**2 + 1) / 60 - 1) / 2)]
    )


def test_the_jackknife_of_a_mean_is_its_squared_standard_error():
    values = np.random.default_rng(0).exponential(size=23)
    without = (values.sum() - values) / 22
    variance, support = jackknife(values.mean(), without)
    assert variance == pytest.approx(stats.sem(values) ** 2)
    deviations = values - values.mean()
    assert support == pytest.approx((deviations**2).sum() ** 2 / (deviations**4).sum())
    # Groups that count alike, and one that counts alone.
    assert jackknife(np.array(0.0), np.array([1.0, -1, 1, -1]))[1] == 4
    assert jackknife(np.array(0.0), np.array([0.0, 0, 2, 0]))[1] == 1


def test_the_variance_of_a_share_is_statsmodels_cluster_robust_one():
    regression = pytest.importorskip("statsmodels.regression.linear_model")
    rng = np.random.default_rng(1)
    rates, groups = rng.beta(3, 1, size=12), np.repeat(np.arange(12), 15)
    right = (rng.random(180) < rates[groups]).astype(float)
    won = np.bincount(groups, right)
    variance, _ = jackknife(right.mean(), (won.sum() - won) / 165)
    fitted = regression.OLS(right, np.ones((180, 1))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}
    )
    assert variance == pytest.approx(fitted.bse[0] ** 2)


COUNTS = st.lists(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=2,
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(counts=COUNTS)
def test_an_interval_of_groups_holds_the_share_has_width_and_knows_no_order(counts):
    won, tried = np.array(counts).T
    low, high = of_groups(won, tried)
    assert 0 <= low <= won.sum() / tried.sum() <= high <= 1
    assert high - low > 1e-3
    assert np.array(of_groups(won[::-1], tried[::-1])) == pytest.approx(np.array([low, high]))
    # Failures have the mirror image.
    mirrored = np.array(of_groups(tried - won, tried))
    assert mirrored == pytest.approx(np.array([1 - high, 1 - low]), abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(counts=COUNTS)
def test_an_end_bounds_nothing_exactly_where_one_group_alone_goes_wrong_or_none(counts):
    won, tried = np.array(counts).T
    wrong, right = (won < tried).sum(), (won > 0).sum()
    assume(right > 1)
    low, high = of_groups(won, tried)
    assert (high == 1) == (wrong <= 1)
    assert low > 0
    if wrong <= 1:
        n = len(won)
        # Between that of one whole group wrong (and of the share itself) and of none.
        worst = min((n - 1) / n, won.sum() / tried.sum())
        assert at_least(np.array(worst), np.array(float(n))) - 1e-9 <= low
        assert low <= 0.05 ** (1 / n) + 1e-9
    if wrong == 0:
        assert low == pytest.approx(0.05 ** (1 / len(won)))


def test_many_test_sets_at_once_are_each_as_alone():
    rng = np.random.default_rng(0)
    tried = rng.integers(1, 40, size=9)
    won = rng.binomial(tried, 0.9, size=(50, 9))
    low, high = of_groups(won, tried)
    alone = np.array([of_groups(row, tried) for row in won])
    assert low.shape == (50,)
    np.testing.assert_allclose(np.stack([low, high], axis=1), alone)


def test_groups_of_copies_are_worth_one_image_each_and_groups_of_strangers_all_theirs():
    tried = np.full(100, 10)
    strangers = np.random.default_rng(0).permutation(np.repeat([1, 0], [900, 100]))
    alone = of_groups(strangers.reshape(100, 10).sum(axis=1), tried)
    assert np.array(alone) == pytest.approx(wilson(900, 1000), abs=0.005)
    spread = of_groups(np.repeat([10, 0], [90, 10]), tried)
    # As many trials as groups, but for the two usual groups that count beside them.
    assert np.array(spread) == pytest.approx(wilson(90, 100), abs=0.005)


def test_a_share_of_many_images_of_their_own_is_wilsons_by_the_general_way_too():
    won = np.repeat([1, 0], [900, 100])
    assert of_groups(won, np.ones(1000, np.int64)) == pytest.approx(wilson(900, 1000), abs=2e-4)


def test_more_variance_from_elsewhere_widens():
    won, tried = np.array([9, 10, 8, 10, 7]), np.full(5, 10)
    plain, wider = of_groups(won, tried), of_groups(won, tried, least_variance=0.02)
    assert wider[0] < plain[0] < plain[1] < wider[1]
    right = np.arange(50) < 40
    every = np.ones(50, np.bool_)
    # Twice the variance of a proportion is that of half as many trials.
    found = proportion(right, every, least_variance=2 * 0.8 * 0.2 / 50)
    assert found == pytest.approx(wilson(20, 25))
    assert proportion(right, every, least_variance=1e-9) == wilson(40, 50)


def test_a_figure_without_any_mistake_has_a_one_sided_limit():
    low, high = of_share(np.array(1.0), np.ones(12), np.array(6.0), np.array(5.0))
    assert (low, high) == (pytest.approx(0.05 ** (1 / 5)), 1)
    low, high = of_share(np.array(0.0), np.zeros(12), np.array(6.0), np.array(5.0))
    assert (low, high) == (0, pytest.approx(1 - 0.05 ** (1 / 5)))


def flags(text):
    return np.array([c == "1" for c in text])


def test_a_proportion_counts_trials_only():
    assert proportion(flags("1101"), flags("1110")) == wilson(2, 3)
    assert proportion(flags("1"), flags("1")) == pytest.approx((0.05, 1))
    assert proportion(flags("11"), flags("00")) is None


def test_a_proportion_of_groups_is_that_of_their_counts():
    success, trial, groups = (
        flags("11010010"),
        flags("11111101"),
        np.array([5, 5, 5, 2, 2, 9, 9, 9]),
    )
    expected = of_groups(np.array([1, 2, 0]), np.array([2, 3, 2]))
    assert proportion(success, trial, groups) == pytest.approx(tuple(map(float, expected)))


def test_a_proportion_of_0_or_1_has_its_groups_as_trials():
    groups = np.array([0, 0, 1, 1, 2])
    limit = 0.05 ** (1 / 2)
    assert proportion(flags("11111"), flags("11110"), groups) == pytest.approx((limit, 1))
    assert proportion(flags("00001"), flags("11110"), groups) == pytest.approx((0, 1 - limit))


def test_a_proportion_within_one_group_has_no_interval():
    groups = np.array([0, 0, 1, 1, 2])
    for success in ("10000", "11000", "00000"):
        assert proportion(flags(success), flags("11000"), groups) is None
    assert proportion(flags("00001"), flags("00001"), groups) == pytest.approx((0.05, 1))
    assert proportion(flags("10101"), flags("11111"), np.zeros(5, dtype=np.int64)) is None


def grouped(seed, size=7):
    """Values of groups of equal size, their mean, and the mean without each group."""
    values = np.random.default_rng(seed).gamma(2, size=(11, size))
    sums = values.sum(axis=1)
    return values.mean(axis=1), float(values.mean()), (sums.sum() - sums) / (10 * size)


def test_students_interval_has_the_degrees_of_freedom_of_the_groups_that_make_it_up():
    means, value, without = grouped(3)
    _, support = jackknife(np.array(value), without)
    assert 2 < support < 11
    half = stats.t.ppf(0.975, float(support) - 1) * stats.sem(means)
    assert student(value, without) == pytest.approx((value - half, value + half))
    # Where all count alike, it is scipy's.
    means = np.repeat([1.0, 3.0], 8)
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    found = student(2.0, (32 - means) / 15)
    assert found == pytest.approx((expected.low, expected.high))
    assert student(1.0, np.ones(5)) is None


def test_the_interval_of_a_positive_figure_is_students_on_the_logarithm():
    means, value, without = grouped(4)
    low, high = positive(value, without, np.inf)
    _, support = jackknife(np.array(value), without)
    half = stats.t.ppf(0.975, float(support) - 1) * stats.sem(means) / value
    assert np.log([low, high]) == pytest.approx(np.log(value) + np.array([-half, half]))
    assert positive(value, without, value + 0.01) == (low, value + 0.01)
    assert positive(0.0, np.zeros(5), 1.0) is None
    assert positive(1.0, np.ones(5), 2.0) is None


def test_one_group_that_makes_up_the_variance_leaves_two_degrees_of_freedom():
    without = np.array([1.0, 1, 1, 0.9])
    half = stats.t.ppf(0.975, 2) * np.sqrt(3 / 4) * 0.1
    assert student(1.0, without) == pytest.approx((1 - half, 1 + half))


def difference(gains, sizes=None):
    """The interval from what each image gains, in groups of these sizes."""
    gains = np.asarray(gains, dtype=float)
    sizes = np.ones(len(gains), np.int64) if sizes is None else np.asarray(sizes)
    sums = np.add.reduceat(gains, np.r_[0, np.cumsum(sizes)[:-1]])
    without = (gains.sum() - sums) / (len(gains) - sizes)
    return of_difference(gains.mean(), without, float(np.abs(gains).mean()), sizes)


def test_a_difference_over_many_images_is_the_textbooks_for_paired_proportions():
    # A. Agresti (2013), Categorical Data Analysis, section 11.1.
    better, worse, n = 130, 40, 4000
    gains = np.repeat([1, -1, 0], [better, worse, n - better - worse])
    value = (better - worse) / n
    half = 1.96 * np.sqrt(better + worse - (better - worse) ** 2 / n) / n
    assert difference(gains) == pytest.approx((value - half, value + half), abs=2e-4)


def test_a_difference_knows_which_groups_went_together():
    gains = np.repeat([1.0, 0.0], [60, 540])
    together, apart = np.full(20, 30), np.random.default_rng(0).permutation(gains)
    low, high = difference(gains, together)
    assert low < 0 < high  # two of twenty groups
    low, high = difference(apart, together)
    assert 0 < low < 0.1 < high


@settings(deadline=None)
@given(gains=st.lists(st.integers(-1, 1), min_size=3, max_size=40), per_group=st.integers(1, 4))
def test_a_difference_has_width_holds_its_value_and_changes_its_sign_with_the_runs(
    gains, per_group
):
    n = len(gains) // per_group * per_group
    assume(n >= 2 * per_group)
    gains = np.array(gains[:n])
    sizes = np.full(n // per_group, per_group)
    low, high = difference(gains, sizes)
    assert -1 <= low <= gains.mean() <= high <= 1
    assert high - low > 1e-3 or abs(gains.mean()) == 1
    assert difference(-gains, sizes) == pytest.approx((-high, -low), abs=1e-12)


def test_runs_that_never_differ_are_known_alike_up_to_the_groups_that_there_are():
    limit = 1 - 0.05 ** (1 / 6)
    assert difference(np.zeros(30), np.full(6, 5)) == pytest.approx((-limit, limit))


def test_shown():
    assert shown(0.97849, [0.9, 0.99]) == "0.978 [0.900, 0.990]"
    assert shown(0.5) == "0.500"
    assert shown(None, [0, 1]) == "n/a"


def test_shown_says_at_least_where_an_end_bounds_nothing():
    assert shown(1.0, [0.847, 1.0]) == "1.000 (at least 0.847)"
    assert shown(0.97849, [0.9, 1.0]) == "0.978 (at least 0.900)"
    assert shown(0.0, [0.0, 0.153]) == "0.000 (at most 0.153)"
    assert shown(0.5, [0.0, 1.0]) == "0.500 [0.000, 1.000]"


def test_shown_never_prints_an_interval_of_no_width():
    assert shown(0.99991, [0.99984, 0.99996]) == "0.9999 [0.9998, 1.0000]"
    assert shown(0.00012, [0.0001, 0.00014]) == "0.00012 [0.00010, 0.00014]"
    assert shown(3e-8, [1e-8, 9e-8]) == "3.00e-08 [1.00e-08, 9.00e-08]"


def test_the_interval_of_a_mean_is_scipys():
    values = [0.953, 0.833, 0.925]
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    assert mean_interval([0.5]) is None
    assert mean_interval([1.0, 1.0, 1.0]) is None  # no interval of no width


def test_groups_are_counted_from_0_and_every_image_is_its_own_without_them():
    assert members(3, None).tolist() == [0, 1, 2]
    assert members(4, np.array([7, 3, 7, 9])).tolist() == [1, 0, 1, 2]
    with pytest.raises(ValueError, match="Expected 4 groups"):
        members(4, np.array([1, 2]))


def test_a_ratio_over_0_is_nan():
    found = ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
    assert found[0] == 0.25
    assert np.isnan(found[1])


@settings(deadline=None)
@given(counts=COUNTS)
def test_no_test_set_is_worth_more_images_than_it_holds(counts):
    won, tried = np.array(counts).T
    low, high = of_groups(won, tried)
    assume(low > 0 and high < 1)
    alone = wilson(int(won.sum()), int(tried.sum()))
    assert low <= alone[0] + 1e-9
    assert high >= alone[1] - 1e-9
