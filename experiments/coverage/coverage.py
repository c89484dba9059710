"""How often a 95% interval holds the true value, where images come in groups: simulated.

    python experiments/coverage/coverage.py [DATASETS]

draws DATASETS (10,000) test sets for each case. Every group has a share of right images of its own
(beta distributed, so that the correlation within a group is the one asked for), and its images
are right by that share. Writes proportions.csv (nine ways), robustness.csv (the package's
method where shares are not beta distributed, the correlation is another, or groups are smaller),
differences.csv (two runs on the same images, a fifth of the datasets) and figures.csv (the
package's intervals of all figures, a twentieth).
"""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, expit, logit, stdtrit
from scipy.stats import beta, norm

from leukemia.classes import Classes
from leukemia.measure.intervals import jackknife, of_difference, of_groups, score, usual_trials
from leukemia.measure.metrics import point_scores, summarize
from leukemia.measure.predictions import Predictions

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Limits = tuple[Floats, Floats]

# Images of the groups that the audit finds in the ALL image dataset; of Benign, the eight largest.
ACQUISITIONS = (323, 299, 294, 276, 205, 174, 169, 149, 130, 124, 101, 91, 90, 69, 43, 29, 22, 16)
BENIGN = (174, 84, 82, 41, 29, 27, 24, 16)
SHARES, CORRELATIONS, GROUPS = (0.80, 0.95, 0.99), (0.25, 0.5), (8, 18, 50)
RESAMPLES = 400


def sizes(kind: str, n: int) -> Counts:
    """Return the number of images of each of n groups: all equal, or as in the real images."""
    if kind != "unequal":
        return np.full(n, int(kind))
    if n == len(BENIGN):
        return np.array(BENIGN)
    at = np.linspace(0, len(ACQUISITIONS) - 1, n)
    return np.interp(at, range(len(ACQUISITIONS)), ACQUISITIONS).round().astype(np.int64)


def group_shares(
    how: str, share: float, icc: float, shape: tuple[int, int], rng: np.random.Generator
) -> Floats:
    """Return the share of right images of each group, of a given mean and correlation."""
    if icc == 0:
        return np.full(shape, share)
    if how == "beta":
        total = (1 - icc) / icc
        return rng.beta(share * total, (1 - share) * total, shape)
    if how == "two kinds":  # some groups without any mistake, the others all alike
        bad = 1 / (1 + icc * share / (1 - share))
        return np.where(rng.random(shape) < bad, 1 - (1 - share) / bad, 1.0)
    centre, spread = _logit_normal(share, icc)
    return np.asarray(expit(centre + spread * rng.standard_normal(shape)))


def _logit_normal(share: float, icc: float) -> tuple[float, float]:
    """Centre and spread of the logits, by bisection within bisection."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def bisect(less: Callable[[float], bool], low: float, high: float) -> float:
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if less(middle) else (low, middle)
        return (low + high) / 2

    def centre(spread: float) -> float:
        return bisect(lambda at: weights @ expit(at + spread * nodes) < share, -60, 60)

    def too_alike(spread: float) -> bool:
        rates = expit(centre(spread) + spread * nodes)
        return bool(weights @ rates**2 - share**2 < icc * share * (1 - share))

    spread = bisect(too_alike, 0.01, 20)
    return centre(spread), spread


def bootstrap(right: Counts, n: Counts) -> Limits:
    """Percentiles over resampled groups: the package's method until 2026-11-30."""
    drawn = _drawn(len(n))
    shares = (right @ drawn.T) / (drawn @ n)
    low, high = np.quantile(shares, (0.025, 0.975), axis=1)
    return low, high


def bootstrap_t(right: Counts, n: Counts) -> Limits:
    """Bootstrap-t on the arcsine scale (B. Efron and R. J. Tibshirani (1993), chapter 12.5)."""
    drawn, total = _drawn(len(n)), right.sum(axis=1)
    share = total / n.sum()
    images = drawn @ n
    again = (right @ drawn.T) / images
    # The sum over the drawn groups of (right - share x images) squared.
    squares = right**2 @ drawn.T - 2 * again * ((right * n) @ drawn.T)
    squares = np.maximum(squares + again**2 * (drawn @ n**2), 0)
    own = (right**2).sum(axis=1) - 2 * share * (right * n).sum(axis=1)
    own = np.maximum(own + share**2 * (n**2).sum(), 0)
    error = np.sqrt(own) / n.sum() * _slope(share)
    moved = np.arcsin(np.sqrt(again)) - np.arcsin(np.sqrt(share))[:, None]
    t = moved / np.maximum(np.sqrt(squares) / images * _slope(again), 1e-6)
    least, most = np.quantile(t, (0.025, 0.975), axis=1)
    centre = np.arcsin(np.sqrt(share))
    return tuple(
        np.sin(np.clip(centre - quantile * error, 0, np.pi / 2)) ** 2 for quantile in (most, least)
    )  # type: ignore[return-value]


def _slope(share: Floats) -> Floats:
    return 1 / np.maximum(2 * np.sqrt(share * (1 - share)), 1e-2)


def _drawn(n: int) -> Floats:
    rng = np.random.default_rng(0)
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def _variance(right: Counts, n: Counts) -> tuple[Floats, Floats]:
    """Return the share and its variance over groups, by the jackknife."""
    total = right.sum(axis=1)
    share = total / n.sum()
    without = (total[:, None] - right) / (n.sum() - n)
    return share, jackknife(share, without)[0]


def student(right: Counts, n: Counts) -> Limits:
    """Student's t over groups."""
    share, variance = _variance(right, n)
    half = stdtrit(len(n) - 1, 0.975) * np.sqrt(variance)
    return share - half, share + half


def student_logit(right: Counts, n: Counts) -> Limits:
    """Student's t over groups, on the logit scale."""
    share, variance = _variance(right, n)
    share = np.clip(share, 1e-9, 1 - 1e-9)
    half = stdtrit(len(n) - 1, 0.975) * np.sqrt(variance) / (share * (1 - share))
    return expit(logit(share) - half), expit(logit(share) + half)


def _effective(right: Counts, n: Counts) -> tuple[Floats, Floats]:
    share, variance = _variance(right, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        trials = np.where(variance > 0, share * (1 - share) / variance, len(n))
    return share, np.minimum(trials, n.sum())


def effective_wilson(right: Counts, n: Counts) -> Limits:
    """Wilson's interval of the effective number of images (variance over groups alone)."""
    return score(*_effective(right, n))


def korn_graubard(right: Counts, n: Counts) -> Limits:
    """Clopper and Pearson's, of the effective number, less by Student's quantile.

    Source: E. L. Korn and B. I. Graubard (1998), Survey Methodology 24, 193-201.
    """
    share, trials = _effective(right, n)
    trials = trials * (norm.ppf(0.975) / stdtrit(len(n) - 1, 0.975)) ** 2
    won, lost = share * trials, (1 - share) * trials
    low = np.where(won > 0, betaincinv(np.maximum(won, 1e-9), lost + 1, 0.025), 0)
    high = np.where(lost > 0, betaincinv(won + 1, np.maximum(lost, 1e-9), 0.975), 1)
    return low, high


def usual_wilson(right: Counts, n: Counts) -> Limits:
    """Wilson's interval of the number of images that a correlation of 1/2 leaves."""
    share = right.sum(axis=1) / n.sum()
    return score(share, np.full(len(share), usual_trials(n)))


def with_one_sided(
    method: Callable[[Counts, Counts], Limits],
) -> Callable[[Counts, Counts], Limits]:
    """The method, with the package's one-sided limit where at most one group has a mistake."""

    def limits(right: Counts, n: Counts) -> Limits:
        low, high = method(right, n)
        least, most = of_groups(right, n)
        few = (least == 0) | (most == 1)
        return np.where(few, least, low), np.where(few, most, high)

    return limits


OLD = "percentile bootstrap, as until 2026-11-30"
METHODS: dict[str, Callable[[Counts, Counts], Limits]] = {
    "package": of_groups,
    OLD: bootstrap,
    "percentile bootstrap": with_one_sided(bootstrap),
    "Student over groups": with_one_sided(student),
    "Student over groups, logit": with_one_sided(student_logit),
    "bootstrap-t, arcsine": with_one_sided(bootstrap_t),
    "effective images, Wilson": with_one_sided(effective_wilson),
    "effective images, Korn and Graubard": with_one_sided(korn_graubard),
    "images by a correlation of 1/2, Wilson": with_one_sided(usual_wilson),
}


def proportions(datasets: int) -> Iterator[dict[str, object]]:
    """Every method in the cases that it was to be chosen by."""
    rng = np.random.default_rng(1)
    for kind in ("20", "unequal"):
        for n_groups in GROUPS:
            for icc in CORRELATIONS:
                for share in SHARES:
                    case = ("beta", kind, n_groups, icc, share)
                    yield from _covered(METHODS, case, datasets, rng)


def robustness(datasets: int) -> Iterator[dict[str, object]]:
    """The package's method where the cases are others."""
    rng = np.random.default_rng(2)
    only = {"package": of_groups}
    cases = [("beta", icc) for icc in (0, 0.1, 0.25, 0.5, 0.8)]
    cases += [(how, icc) for how in ("logit-normal", "two kinds") for icc in (0.1, 0.25, 0.5)]
    for how, icc in cases:
        for kind in ("5", "20", "unequal"):
            for n_groups in (5, *GROUPS):
                for share in (*SHARES, 0.5, 0.05):
                    if how == "beta" or share >= 0.5:
                        case = (how, kind, n_groups, icc, share)
                        yield from _covered(only, case, datasets, rng)


def _covered(
    methods: dict[str, Callable[[Counts, Counts], Limits]],
    case: tuple[str, str, int, float, float],
    datasets: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, object]]:
    how, kind, n_groups, icc, share = case
    n = sizes(kind, n_groups)
    right = rng.binomial(n, group_shares(how, share, icc, (datasets, n_groups), rng))
    wrong = (right < n).sum(axis=1)
    for name, method in methods.items():
        low, high = method(right, n)
        yield {
            "shares": how,
            "images_a_group": kind,
            "groups": n_groups,
            "correlation": icc,
            "true": share,
            "method": name,
            "coverage": f"{((low <= share) & (share <= high)).mean():.4f}",
            "missed_below": f"{(share < low).mean():.4f}",
            "missed_above": f"{(share > high).mean():.4f}",
            "median_width": f"{np.median(np.minimum(high, 1) - np.maximum(low, 0)):.4f}",
            "no_error": f"{(wrong == 0).mean():.4f}",
            "errors_in_one_group": f"{(wrong == 1).mean():.4f}",
        }


def differences(datasets: int) -> Iterator[dict[str, object]]:
    """Two runs on the same images, whose groups are hard for both."""
    rng = np.random.default_rng(3)
    for kind in ("20", "unequal"):
        for n_groups in GROUPS:
            # A quarter of the images, as each is drawn here.
            n = sizes(kind, n_groups) if kind == "20" else np.maximum(sizes(kind, n_groups) // 4, 3)
            for icc in CORRELATIONS:
                for better, worse in ((0.95, 0.85), (0.99, 0.95), (0.8, 0.8), (0.95, 0.95)):
                    gained, differ = _pairs((better, worse), icc, n, datasets, rng)
                    value = gained.sum(axis=1) / n.sum()
                    without = (gained.sum(axis=1)[:, None] - gained) / (n.sum() - n)
                    apart = differ.sum(axis=1) / n.sum()
                    pairs = [
                        of_difference(float(v), w, float(d), n)
                        for v, w, d in zip(value, without, apart, strict=True)
                    ]
                    drawn = _drawn(n_groups)
                    old = np.quantile((gained @ drawn.T) / (drawn @ n), (0.025, 0.975), axis=1)
                    limits = {
                        "package": np.array(pairs).T,
                        OLD: old,
                    }
                    for name, (low, high) in limits.items():
                        held = (low <= better - worse) & (better - worse <= high)
                        yield {
                            "images_a_group": kind,
                            "groups": n_groups,
                            "correlation": icc,
                            "better": better,
                            "worse": worse,
                            "method": name,
                            "coverage": f"{held.mean():.4f}",
                            "median_width": f"{np.median(high - low):.4f}",
                        }


def _pairs(
    shares: tuple[float, float], icc: float, n: Counts, datasets: int, rng: np.random.Generator
) -> tuple[Counts, Counts]:
    """Return, by group, what one run gains on the other and on how many images they differ."""
    total, shape = (1 - icc) / icc, (datasets, len(n))
    common, grid = rng.standard_normal(shape), np.linspace(1e-6, 1 - 1e-6, 4001)
    rates = []
    for share in shares:
        place = norm.cdf(np.sqrt(0.6) * common + np.sqrt(0.4) * rng.standard_normal(shape))
        quantiles = beta.ppf(grid, share * total, (1 - share) * total)
        rates.append(np.interp(place, grid, quantiles))
    gained, differ = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for group, size in enumerate(n):
        luck = rng.random((datasets, size))
        other = np.where(rng.random(luck.shape) < 0.7, luck, rng.random(luck.shape))
        one = luck < rates[0][:, group, None]
        two = other < rates[1][:, group, None]
        gained[:, group] = one.sum(axis=1) - two.sum(axis=1)
        differ[:, group] = (one != two).sum(axis=1)
    return gained, differ


def figures(datasets: int) -> Iterator[dict[str, object]]:
    """All figures of `summarize`: four classes, and groups that are harder or easier."""
    rng = np.random.default_rng(4)
    for shift in (0.25, 0.6):
        truth = point_scores(_predictions(shift, 400_000, 1, rng))
        for n_groups in GROUPS:
            members = np.repeat(np.arange(n_groups), 20)
            found = [
                summarize(_predictions(shift, n_groups, 20, rng), members)["interval"]
                for _ in range(datasets)
            ]
            for name in found[0]:
                true, defined = truth[name], [one[name] for one in found if one[name] is not None]
                held = [low <= true <= high for low, high in defined]
                yield {
                    "shift_of_groups": shift,
                    "groups": n_groups,
                    "figure": name,
                    "true": f"{true:.4f}",
                    "coverage": f"{np.mean(held):.4f}",
                    "undefined": f"{1 - len(defined) / datasets:.4f}",
                    "one_sided": f"{np.mean([high == 1 for _, high in defined]):.4f}",
                    "median_width": f"{np.median([high - low for low, high in defined]):.4f}",
                }


def _predictions(shift: float, groups: int, size: int, rng: np.random.Generator) -> Predictions:
    """Return images of groups, most of one class each, with a shift of their own in the logits."""
    n, classes = groups * size, Classes()
    main = np.repeat(rng.integers(4, size=groups), size)
    labels = np.where(rng.random(n) < 0.7, main, rng.integers(4, size=n))
    common = np.repeat(rng.standard_normal((groups, 4)), size, axis=0)
    logits = 4 * (np.eye(4)[labels] + shift * common + 0.25 * rng.standard_normal((n, 4)))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    files = tuple(map(str, range(n)))
    return Predictions(files, labels, odds / odds.sum(axis=1, keepdims=True), classes)


def _write(name: str, rows: Sequence[dict[str, object]]) -> None:
    path = Path(__file__).with_name(name)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    n_datasets = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    _write("proportions.csv", list(proportions(n_datasets)))
    _write("robustness.csv", list(robustness(n_datasets)))
    _write("differences.csv", list(differences(n_datasets // 5)))
    _write("figures.csv", list(figures(n_datasets // 20)))
