"""Intervals for figures of a finite test set."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, without continuity correction.

    Source: E. B. Wilson (1927), doi:10.1080/01621459.1927.10502953; compared with ten others
    by R. G. Newcombe (1998), doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E.

    Args:
        successes: how many of the `n` trials succeeded, 0 to `n`.
        n: number of independent trials, at least 1.
        confidence: two-sided coverage, in (0, 1).

    Returns:
        Lower and upper limit, both in [0, 1].

    Raises:
        ValueError: no trial, or `successes` outside 0 to `n`.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"Expected 0 <= successes <= n and n >= 1, but got {successes} of {n}.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * sqrt(successes * (n - successes) / n + z**2 / 4)
    # At the ends the limit is exact; rounding would leave 1e-17 or 0.99999... there.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def bootstrap_weights(n_groups: int, n_boot: int, seed: int) -> NDArray[np.float64]:
    """How often each group is drawn when `n_groups` are drawn with replacement.

    Args:
        n_groups: number of groups, at least 1.
        n_boot: number of resamples.
        seed: seed of the draws; equal arguments give equal weights.

    Returns:
        Counts (n_boot, n_groups), each row summing to `n_groups`.
    """
    draws = np.random.default_rng(seed).integers(n_groups, size=(n_boot, n_groups))
    cells = draws + n_groups * np.arange(n_boot)[:, None]
    counts = np.bincount(cells.ravel(), minlength=n_boot * n_groups)
    return counts.reshape(n_boot, n_groups).astype(np.float64)


def percentile(values: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval of bootstrap values.

    Args:
        values: one figure a resample, (n_boot,); nan where a resample left it undefined.
        confidence: two-sided coverage, in (0, 1).

    Returns:
        Lower and upper limit over the defined values, or None where there is none.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient, nan where the denominator is 0."""
    out: NDArray[np.float64] = np.full(denominator.shape, np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def members(n: int, groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The groups counted from 0, (n,); each image its own where none are given.

    Raises:
        ValueError: `groups` does not have one entry an image.
    """
    if groups is None:
        return np.arange(n)
    if groups.shape != (n,):
        raise ValueError(f"Expected {n} groups, but got shape {groups.shape}.")
    return np.unique(groups, return_inverse=True)[1]


def proportion(
    success: NDArray[np.bool_],
    trial: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The 95% interval of the share of successes among the images that are trials.

    Wilson's where images are independent, else that of resampled groups; but for a share of
    exactly 0 or 1, on which resampling has nothing to say, Wilson's with the groups as trials.

    Args:
        success: which images are successes, (N,); only trials count.
        trial: which images are trials, (N,).
        groups: which images belong together, (N,); None where each stands for itself.
        n_boot: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        Lower and upper limit in [0, 1], or None without trials or where one group holds all of
        several trials.
    """
    member = members(len(trial), groups)
    n_groups = int(member.max()) + 1
    won, tried = success[trial], member[trial]
    if not len(tried):
        return None
    if n_groups == len(trial):
        return wilson(int(won.sum()), len(tried))
    trials = len(set(tried))
    if trials == 1 < len(tried):
        return None
    if won.all() or not won.any():
        return wilson(trials if won.all() else 0, trials)
    drawn = bootstrap_weights(n_groups, n_boot, seed)
    wins = np.bincount(tried, won, minlength=n_groups)
    return percentile(ratio(drawn @ wins, drawn @ np.bincount(tried, minlength=n_groups)))


def shown(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A figure as a reader meets it, such as `0.978 [0.958, 0.988]`.

    Args:
        value: the figure, or None where it is undefined.
        interval: its lower and upper limit, or None.
    """
    if value is None:
        return "n/a"
    if interval is None:
        return f"{value:.3f}"
    low, high = interval
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of a mean, as of runs that differ in the seed.

    Args:
        values: one figure a run.
        confidence: two-sided coverage, in (0, 1).

    Returns:
        Lower and upper limit, or None for fewer than two values, which say nothing of spread.
    """
    if len(values) < 2:
        return None
    half = stdtrit(len(values) - 1, 0.5 + confidence / 2) * np.std(values, ddof=1)
    half /= sqrt(len(values))
    centre = float(np.mean(values))
    return centre - float(half), centre + float(half)
