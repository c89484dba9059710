"""How often an interval holds the true value: beta-binomial groups, drawn many times."""

from pathlib import Path

import numpy as np
import pytest

from leukemia.measure.intervals import of_difference, of_groups
from tests.commands import rows

RECORD = Path(__file__).parents[2] / "experiments" / "coverage" / "proportions.csv"
ACQUISITIONS = [323, 299, 294, 276, 205, 174, 169, 149, 130, 124, 101, 91, 90, 69, 43, 29, 22, 16]
SIZES = {
    "8 alike": [20] * 8,
    "18 alike": [20] * 18,
    "50 alike": [20] * 50,
    "8 of Benign": [174, 84, 82, 41, 29, 27, 24, 16],
    "18 acquisitions": ACQUISITIONS,
    "50 unequal": [*ACQUISITIONS, *ACQUISITIONS, *ACQUISITIONS[2:16]],
}


def drawn(share, correlation, sizes, datasets, seed=0):
    """Right images of each group, (datasets, G)."""
    rng, total = np.random.default_rng(seed), 1 / correlation - 1
    shares = rng.beta(share * total, (1 - share) * total, (datasets, len(sizes)))
    return rng.binomial(sizes, shares)


def coverage(share, correlation, sizes, datasets):
    """How often the interval holds the share, and how often at most one group went wrong."""
    sizes = np.array(sizes)
    won = drawn(share, correlation, sizes, datasets)
    low, high = of_groups(won, sizes)
    few = (won < sizes).sum(axis=1) <= 1
    return ((low <= share) & (share <= high)).mean(), few.mean()


def test_18_groups_are_enough_for_an_interval_that_holds_where_resampling_them_is_not():
    sizes = np.array(ACQUISITIONS)
    found, _ = coverage(0.95, 0.5, sizes, 2000)
    assert 0.92 <= found <= 0.98
    # The percentiles of resampled groups, which the package took before.
    won = drawn(0.95, 0.5, sizes, 2000)
    weights = np.random.default_rng(1).multinomial(18, np.full(18, 1 / 18), size=300)
    shares = (won @ weights.T) / (weights @ sizes)
    low, high = np.quantile(shares, [0.025, 0.975], axis=1)
    assert ((low <= 0.95) & (high >= 0.95)).mean() < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("correlation", [0.25, 0.5])
@pytest.mark.parametrize("share", [0.8, 0.95, 0.99, 0.05])
def test_a_95_percent_interval_holds_in_92_to_98_of_100_test_sets(share, correlation, sizes):
    found, few = coverage(share, correlation, sizes, 20_000)
    assert found >= 0.92
    # Where most test sets have no mistake, or in one group alone, the interval says "at least";
    # that holds whatever the correlation is, and so more often.
    if few < 0.5:
        assert found <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.01, 0.1, 0.9])
def test_it_holds_no_less_often_where_groups_matter_little_or_decide_all(correlation):
    for share in (0.8, 0.95, 0.99):
        assert coverage(share, correlation, ACQUISITIONS, 20_000)[0] >= 0.90


@pytest.mark.slow
def test_the_interval_of_a_difference_holds_in_at_least_92_of_100_test_sets():
    rng, sizes = np.random.default_rng(0), np.full(18, 20)
    held = []
    for _ in range(3000):
        shares = rng.beta(0.95, 0.05, size=18)
        luck = rng.random((18, 20))
        better, worse = luck < shares[:, None], luck < 0.9 * shares[:, None]
        gained = (better.astype(int) - worse).sum(axis=1)
        without = (gained.sum() - gained) / 340
        low, high = of_difference(gained.sum() / 360, without, (better != worse).mean(), sizes)
        held.append(low <= 0.1 * 0.95 <= high)
    assert np.mean(held) >= 0.92


def test_the_record_of_the_simulation_holds_what_the_pages_say():
    found = [row for row in rows(RECORD) if row["method"] == "package"]
    cases = {(row["groups"], row["correlation"], row["true"]) for row in found}
    assert len(cases) == 3 * 2 * 3
    for row in found:
        assert float(row["coverage"]) >= 0.92, row
        if float(row["no_error"]) + float(row["errors_in_one_group"]) < 0.5:
            assert float(row["coverage"]) <= 0.98, row


def test_the_table_of_the_simulation_is_that_of_its_record():
    by_method = {}
    for row in rows(RECORD):
        by_method.setdefault(row["method"], []).append(float(row["coverage"]))
    table = (RECORD.parent / "README.md").read_text().replace("**package**", "package")
    for method, found in by_method.items():
        within = sum(0.92 <= share <= 0.98 for share in found)
        said = f"| {method} | {min(found):.3f} to {max(found):.3f} | {within} |"
        assert said in table
