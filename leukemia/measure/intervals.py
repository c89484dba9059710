"""95% intervals for figures of a finite test set whose images come in groups.

Images of one acquisition or patient go right or wrong together, so that a test set is worth fewer
images than it holds. How many is learnt from the groups themselves: from how far a figure moves
when one of them is left out (the jackknife). Few groups say little of that, and none at all where
nothing went wrong; so one of the groups that make the variance up counts as a correlation of
`USUAL_CORRELATION` would have it. The simulation that chose this is in experiments/coverage.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri, stdtrit
from scipy.stats import binomtest

Floats = NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
USUAL_CORRELATION = 0.5  # between two images of a group, where the groups do not say
_ROUNDING = 1e-12


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval of a proportion, without continuity correction.

    Source: E. B. Wilson (1927), doi:10.1080/01621459.1927.10502953; compared with ten others
    by R. G. Newcombe (1998), doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E.

    Args:
        successes: how many of the `n` trials succeeded, 0 to `n`.
        n: number of independent trials, at least 1.

    Returns:
        Lower and upper limit, both in [0, 1].

    Raises:
        ValueError: no trial, or `successes` outside 0 to `n`.
    """
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def score(share: Floats, trials: Floats) -> tuple[Floats, Floats]:
    """Wilson's interval where the number of trials need not be whole.

    Args:
        share: the share of successes, in [0, 1], of any shape.
        trials: how many independent trials the share is worth, above 0; of the same shape.

    Returns:
        Lower and upper limits, of the same shape.
    """
    z = ndtri(0.5 + CONFIDENCE / 2)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    variance = share * (1 - share) / trials + (z / (2 * trials)) ** 2
    half = z / (1 + z**2 / trials) * np.sqrt(variance)
    return centre - half, centre + half


def at_least(share: Floats, trials: Floats) -> Floats:
    """The one-sided lower limit of a proportion, exact where the trials are whole.

    Without an error it is 0.05 ** (1 / trials): three in `trials`, roughly, may still be wrong.

    Source: C. J. Clopper and E. S. Pearson (1934), doi:10.1093/biomet/26.4.404.

    Args:
        share: the share of successes, in [0, 1], of any shape.
        trials: number of independent trials, above 0.

    Returns:
        Lower limits, of the same shape; 0 where nothing succeeded.
    """
    won = share * trials
    limit: Floats = betaincinv(np.maximum(won, 1e-12), trials - won + 1, 1 - CONFIDENCE)
    return np.where(won > 0, limit, 0.0)


def usual_trials(sizes: NDArray[np.int64]) -> Floats:
    """How many independent images groups of these sizes are worth where nothing else is known.

    Args:
        sizes: images of each group, (..., G), all above 0.

    Returns:
        The number, (...): that of images where each is a group of its own, and between those of
        groups and of images otherwise.
    """
    n = sizes.sum(axis=-1)
    beside = (sizes.astype(np.float64) ** 2).sum(axis=-1) / n - 1  # other images of one's group
    trials: Floats = n / (1 + beside * USUAL_CORRELATION)
    return trials


def jackknife(value: Floats, without: Floats) -> tuple[Floats, Floats]:
    """How far chance moves a figure, from its values without each group in turn.

    Args:
        value: the figure of all groups, (...).
        without: the figure without one group, (..., G), with G of 2 or more.

    Returns:
        The variance (...); and how many groups make it up (...): G where all count alike, 1
        where one does alone, or none.
    """
    n = without.shape[-1]
    moved = without - np.asarray(value)[..., None]
    squares = np.where(np.abs(moved) < _ROUNDING, 0, moved) ** 2
    total = squares.sum(axis=-1)
    support = ratio(total**2, (squares**2).sum(axis=-1))
    return (n - 1) / n * total, np.maximum(np.nan_to_num(support, nan=1.0), 1.0)


def of_share(
    value: Floats,
    without: Floats,
    usual: Floats,
    units: Floats,
    share: Floats | None = None,
    least_variance: Floats | float = 0.0,
) -> tuple[Floats, Floats]:
    """The interval of a figure between 0 and 1, of which 1 (or 0) means no mistake.

    It is Wilson's, with as many trials as the figure's variance over groups is worth, where one
    of the groups that make that variance up is given the usual one. Where leaving out one group
    leaves no mistake, or there was none, the groups say nothing of the good end: the interval
    then ends there, and its other end is one-sided, with whole groups as trials.

    Args:
        value: the figure, (...).
        without: the figure without each group, (..., G).
        usual: how many trials the figure would be worth by the usual correlation, (...).
        units: how many groups stand for a trial each in the one-sided limit, (...).
        share: the figure as that limit takes it, (...), where it is nearer to the middle; None
            for `value`.
        least_variance: what the variance is at least, where something else than the groups
            moves the figure.

    Returns:
        Lower and upper limits, (...); an end at 0 or 1 bounds nothing.
    """
    variance, support = jackknife(value, without)
    per_trial = value * (1 - value)
    variance = np.maximum(variance, least_variance)
    seen = np.clip(np.nan_to_num(ratio(variance, per_trial)), 0, 1)
    trials = support / (1 / usual + (support - 1) * seen)
    low, high = score(value, trials)
    best, worst = (without >= 1).any(axis=-1), (without <= 0).any(axis=-1)
    shares = value if share is None else share
    least = at_least(np.minimum(shares, value), units)
    most = 1 - at_least(1 - np.maximum(shares, value), units)
    return (
        np.where(best, least, np.where(worst, 0.0, low)),
        np.where(worst, most, np.where(best, 1.0, high)),
    )


def of_groups(
    won: NDArray[np.int64], tried: NDArray[np.int64], least_variance: float = 0.0
) -> tuple[Floats, Floats]:
    """The interval of a share of successes, from the counts of each group.

    Args:
        won: successes by group, (..., G), with G of 2 or more.
        tried: trials by group, (..., G), all above 0.
        least_variance: as in `of_share`.

    Returns:
        Lower and upper limits, (...); see `of_share`.
    """
    successes, trials = won.sum(axis=-1, keepdims=True), tried.sum(axis=-1, keepdims=True)
    value = (successes / trials)[..., 0]
    return of_share(
        value,
        (successes - won) / (trials - tried),
        usual_trials(tried),
        np.asarray(float(won.shape[-1])),
        # Each group a trial: a group that went wrong by half counts as half a mistake.
        share=(won / tried).mean(axis=-1),
        # No test set is worth more images than it holds.
        least_variance=np.maximum(least_variance, value * (1 - value) / trials[..., 0]),
    )


def student(value: float, without: Floats) -> Interval | None:
    """Student's interval over groups of a figure that may be anything.

    The quantile has one degree of freedom less than groups make up the variance (and no fewer
    than 2): where a few of many do, the variance itself is known as badly as from those few.

    Args:
        value: the figure of all groups.
        without: the figure without each group, (G,), with G of 2 or more.

    Returns:
        Lower and upper limit, or None where no group moves the figure.
    """
    variance, support = (float(x) for x in jackknife(np.asarray(value), without))
    if variance == 0:
        return None
    half = float(stdtrit(max(support - 1, 2.0), 0.5 + CONFIDENCE / 2)) * sqrt(variance)
    return value - half, value + half


def positive(value: float, without: Floats, most: float) -> Interval | None:
    """Student's interval over groups of a figure above 0, on its logarithm.

    Args:
        value: the figure of all groups.
        without: the figure without each group, (G,), with G of 2 or more.
        most: what the figure can be at most.

    Returns:
        Lower and upper limit, or None where no group moves the figure.
    """
    if value <= 0:
        return None
    bounds = student(0.0, without / value - 1)  # the logarithm's slope is 1 / value
    if bounds is None:
        return None
    return value * float(np.exp(bounds[0])), min(value * float(np.exp(bounds[1])), most)


def of_difference(
    value: float, without: Floats, differ: float, sizes: NDArray[np.int64]
) -> Interval:
    """Student's interval of a difference of two proportions over the same images.

    As in `of_share`, one of the groups that make up the variance is given the usual one: that of
    a share `differ` of images on which the two decide differently, as if one group more did so
    throughout.

    Args:
        value: the difference, in [-1, 1].
        without: the difference without each group, (G,), with G of 2 or more.
        differ: the share of images on which the two decide differently, in [0, 1].
        sizes: images of each group, all above 0.

    Returns:
        Lower and upper limit in [-1, 1]. Where the two decide alike throughout, the one-sided
        limit of no disagreement among the groups, either way.
    """
    n_groups = float(len(sizes))
    if not differ:
        limit = 1 - float(at_least(np.asarray(1.0), np.asarray(n_groups)))
        return -limit, limit
    variance, support = (float(x) for x in jackknife(np.asarray(value), without))
    one_more = (differ * n_groups + 1) / (n_groups + 1)
    usual = max(one_more - value**2, 0.0) / float(usual_trials(sizes))
    variance = (usual + (support - 1) * variance) / support
    half = float(stdtrit(n_groups - 1, 0.5 + CONFIDENCE / 2)) * sqrt(variance)
    return max(value - half, -1.0), min(value + half, 1.0)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, nan where the denominator is 0."""
    out: Floats = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)


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
    least_variance: float = 0.0,
) -> Interval | None:
    """The 95% interval of the share of successes among the images that are trials.

    Wilson's where every image stands for itself, else that of `of_groups`. Where nothing went
    wrong, or in one group of several images alone, it is one-sided: [low, 1].

    Args:
        success: which images are successes, (N,); only trials count.
        trial: which images are trials, (N,).
        groups: which images belong together, (N,); None where each stands for itself.
        least_variance: as in `of_share`.

    Returns:
        Lower and upper limit in [0, 1], or None without trials or where one group holds all of
        several trials.
    """
    won, (_, member) = (
        success[trial],
        np.unique(members(len(trial), groups)[trial], return_inverse=True),
    )
    tried = np.bincount(member)
    n, successes = len(member), int(won.sum())
    if not n or len(tried) == 1 < n:
        return None
    if len(tried) < n:
        of_group = np.bincount(member, won).astype(np.int64)
        low, high = of_groups(of_group, tried, least_variance)
        return float(low), float(high)
    if successes in (0, n):
        limit = float(at_least(np.asarray(1.0), np.asarray(float(n))))
        return (limit, 1.0) if successes else (0.0, 1 - limit)
    share = successes / n
    if least_variance <= share * (1 - share) / n:
        return wilson(successes, n)
    low, high = score(np.asarray(share), np.asarray(share * (1 - share) / least_variance))
    return float(low), float(high)


def shown(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A figure as a reader meets it: `0.978 [0.958, 0.988]`, or `1.000 (at least 0.847)`.

    Args:
        value: the figure, or None where it is undefined.
        interval: its lower and upper limit, or None. An end at 0 or 1 bounds nothing, and is not
            told. Limits that would look alike get more digits, or powers of ten.
    """
    if value is None:
        return "n/a"
    if interval is None:
        return f"{value:.3f}"
    low, high = interval
    kinds = (f".{digits}f" for digits in range(3, 7))
    kind = next((kind for kind in kinds if f"{low:{kind}}" != f"{high:{kind}}"), ".2e")
    if high == 1 and low > 0:
        return f"{value:{kind}} (at least {low:{kind}})"
    if low == 0 and high < 1:
        return f"{value:{kind}} (at most {high:{kind}})"
    return f"{value:{kind}} [{low:{kind}}, {high:{kind}}]"


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of a mean, as of runs that differ in the seed.

    Args:
        values: one figure a run.

    Returns:
        Lower and upper limit, or None for values that say nothing of spread: fewer than two, or
        all of them equal.
    """
    if len(values) < 2 or len(set(values)) == 1:
        return None
    half = stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2) * np.std(values, ddof=1)
    half /= sqrt(len(values))
    centre = float(np.mean(values))
    return centre - float(half), centre + float(half)
