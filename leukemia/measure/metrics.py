"""The figures of `metrics.json`, from a table of predictions.

A cancer decision is an argmax: an image counts as called cancer where its most probable class is
not a benign one. Only `roc_auc` and `average_precision` look at `p_cancer` itself. Where no class
is benign (`Classes.has_cancer`), the figures of `CANCER_FIGURES` are not there at all.

Every figure is computed for many weightings of the images at once: all weights 1 give the figure,
those without each group in turn its interval.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukemia.classes import without_cancer
from leukemia.measure.intervals import (
    Interval,
    members,
    of_share,
    positive,
    proportion,
    ratio,
    usual_trials,
)
from leukemia.measure.predictions import Predictions

Floats = NDArray[np.float64]

ECE_BINS = 15
_BLOCK = 100  # weightings at once; bounds the memory at a few times 100 x N numbers
_MOST_LEFT_OUT = 500  # of more groups, several are left out at a time
_TINY = float(np.finfo(np.float64).eps)  # the least probability in the log, as in scikit-learn
_MOST = {"nll": -float(np.log(_TINY)), "brier": 2.0, "ece": 1.0}


def summarize(predictions: Predictions, groups: NDArray[np.int64] | None = None) -> dict[str, Any]:
    """Every figure of one part, with 95% intervals.

    Those of accuracy, cancer recall and specificity, and recall by class are `proportion`'s; of
    macro F1, ROC AUC and average precision those of `of_share`; of NLL, Brier score and
    calibration error those of `positive`. None stands where one group holds all of a class that
    the figure needs.

    Args:
        predictions: N files with labels and probabilities.
        groups: which files belong together (a patient, a burst of exposures), (N,); None where
            every image stands for itself.

    Returns:
        Plain numbers, dicts and lists, with None for what is undefined (the recall of an absent
        class, the precision of a class never predicted). Proportions are in [0, 1]; `nll` is in
        nats over all classes; `brier` is the mean over files of the squared error summed over
        classes, in [0, 2]; `ece` is of the top label in 15 bins of equal width. `macro_f1` is
        the mean over classes that occur among labels or predictions. `confusion` has true
        classes as rows. `interval` maps a figure's name, or `recall.<Class>`, to [low, high]; of a
        figure in [0, 1], an end at 0 or 1 bounds nothing, and the other is one-sided. Where no
        class is benign, `CANCER_FIGURES` are missing.

    Raises:
        ValueError: `groups` does not have one entry a file.
    """
    n = len(predictions.files)
    names = predictions.classes.names
    scores = point_scores(predictions)
    confusion = _Table(predictions).confusion(np.ones((1, n)))[0].astype(int)
    decided = ("accuracy", "macro_f1", "cancer_recall", "cancer_specificity")
    ranked = ("roc_auc", "average_precision", "nll", "brier", "ece")
    by_class = {
        kind: {name: scores.pop(f"{kind}.{name}") for name in names}
        for kind in ("precision", "recall", "f1")
    }
    return {
        **{k: scores[k] for k in without_cancer(decided, predictions.classes)},
        **by_class,
        "confusion": confusion.tolist(),
        "n": n,
        **{k: scores[k] for k in without_cancer(ranked, predictions.classes)},
        "interval": _intervals(predictions, groups, scores),
    }


def point_scores(predictions: Predictions) -> dict[str, float | None]:
    """Every scalar figure by name, such as `nll` or `recall.<Class>`; None where undefined."""
    every = np.ones((1, len(predictions.files)))
    scores = _Table(predictions).scores(every)
    return {name: _plain(value[0]) for name, value in scores.items()}


def scores_without(predictions: Predictions, groups: NDArray[np.int64] | None) -> dict[str, Floats]:
    """Every scalar figure without each group in turn.

    Of more than 500 groups several are left out at a time, drawn by chance, the same for tables
    of equal length and groups.

    Args:
        predictions: N files with labels and probabilities.
        groups: which files belong together, (N,); None where every image stands for itself.

    Returns:
        By name, (G,) each, with G the number of groups or 500; nan where the figure is undefined
        without them. G is 0 where there is one group alone.
    """
    table, member = _Table(predictions), members(len(predictions.files), groups)
    n_groups = int(member.max()) + 1
    if n_groups > _MOST_LEFT_OUT:
        member = (np.random.default_rng(0).permutation(n_groups) % _MOST_LEFT_OUT)[member]
        n_groups = _MOST_LEFT_OUT
    starts = range(0, n_groups if n_groups > 1 else 0, _BLOCK)
    blocks = [table.scores(np.ones((0, len(member))))]
    for start in starts:
        left_out = np.arange(start, min(start + _BLOCK, n_groups))
        blocks.append(table.scores((left_out[:, None] != member).astype(np.float64)))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def log_losses(predictions: Predictions) -> Floats:
    """What each image adds to the NLL, (N,), in nats."""
    likelihood = predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]
    losses: Floats = -np.log(np.clip(likelihood, _TINY, 1))
    return losses


def calibration_bins(predictions: Predictions) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Count, mean confidence and accuracy in each of 15 equal bins of the top probability.

    Args:
        predictions: N files with labels and probabilities.

    Returns:
        Three arrays (15,); the last two are nan where a bin (low, high] is empty.
    """
    top = predictions.probabilities.max(axis=1)
    hit = predictions.labels == predictions.predicted
    member = _bin_members(top)
    count = member.sum(axis=0)
    return count.astype(np.int64), ratio(top @ member, count), ratio(hit @ member, count)


def _bin_members(top: Floats) -> Floats:
    """Which bin (low, high] each top probability falls into, one-hot (N, 15)."""
    edges = np.linspace(0, 1, ECE_BINS + 1)
    # The sum of a row may be off by rounding, and a probability so be above 1.
    members: Floats = np.eye(ECE_BINS)[np.minimum(np.searchsorted(edges, top) - 1, ECE_BINS - 1)]
    return members


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


class _Table:
    """What each image contributes; the methods take weights (B, N) and give a row a weighting."""

    def __init__(self, predictions: Predictions) -> None:
        labels, probabilities = predictions.labels, predictions.probabilities
        self.names = predictions.classes.names
        self.benign = list(predictions.classes.benign_labels)
        c = len(self.names)
        one_hot = np.eye(c)
        self.cell = np.eye(c * c)[labels * c + predictions.predicted]
        self.nll = log_losses(predictions)
        self.brier = ((probabilities - one_hot[labels]) ** 2).sum(axis=1)
        top = probabilities.max(axis=1)
        hit = labels == predictions.predicted
        self.gap = _bin_members(top) * (hit - top)[:, None]
        if self.benign:
            self.order = np.argsort(predictions.p_cancer)
            ordered = predictions.p_cancer[self.order]
            self.ties = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
            self.cancer = predictions.cancer.astype(np.float64)

    def confusion(self, weights: Floats) -> Floats:
        """Weighted counts (B, C, C), true classes as rows."""
        c = len(self.names)
        counts: Floats = (weights @ self.cell).reshape(-1, c, c)
        return counts

    def scores(self, weights: Floats) -> dict[str, Floats]:
        """Every scalar figure by name, (B,) each, nan where undefined."""
        confusion = self.confusion(weights)
        total = weights.sum(axis=1)
        right = np.diagonal(confusion, axis1=1, axis2=2)
        true, called = confusion.sum(axis=2), confusion.sum(axis=1)
        f1 = ratio(2 * right, true + called)
        occurs = ~np.isnan(f1)
        scores = {
            "accuracy": right.sum(axis=1) / total,
            "macro_f1": np.where(occurs, f1, 0).sum(axis=1) / occurs.sum(axis=1),
            **(self._cancer(confusion, weights) if self.benign else {}),
            "nll": weights @ self.nll / total,
            "brier": weights @ self.brier / total,
            "ece": np.abs(weights @ self.gap).sum(axis=1) / total,
        }
        kinds = {"precision": ratio(right, called), "recall": ratio(right, true), "f1": f1}
        for kind, values in kinds.items():
            scores |= {f"{kind}.{name}": values[:, i] for i, name in enumerate(self.names)}
        return scores

    def _cancer(self, confusion: Floats, weights: Floats) -> dict[str, Floats]:
        """Figures of cancer against all benign classes together."""
        total = weights.sum(axis=1)
        benign = confusion[:, self.benign].sum(axis=(1, 2))
        # Benign called benign, of whichever benign class.
        benign_right = confusion[:, self.benign][:, :, self.benign].sum(axis=(1, 2))
        missed = confusion[:, :, self.benign].sum(axis=(1, 2)) - benign_right
        cancer = total - benign
        roc_auc, average_precision = self._ranking(weights)
        return {
            "cancer_recall": ratio(cancer - missed, cancer),
            "cancer_specificity": ratio(benign_right, benign),
            "roc_auc": roc_auc,
            "average_precision": average_precision,
        }

    def _ranking(self, weights: Floats) -> tuple[Floats, Floats]:
        """ROC AUC and average precision of cancer against benign, nan where either is absent."""
        ordered = weights[:, self.order]
        # Equal scores share one threshold.
        cancer = np.add.reduceat(ordered * self.cancer[self.order], self.ties, axis=1)
        benign = np.add.reduceat(ordered * (1 - self.cancer[self.order]), self.ties, axis=1)
        below = np.cumsum(benign, axis=1) - benign
        cancers, benigns = cancer.sum(axis=1), benign.sum(axis=1)
        auc = ratio((cancer * (below + benign / 2)).sum(axis=1), cancers * benigns)
        # Counts at or above each threshold, from the highest down.
        true_positive = np.cumsum(cancer[:, ::-1], axis=1)
        called = true_positive + np.cumsum(benign[:, ::-1], axis=1)
        precision = np.nan_to_num(ratio(true_positive, called))
        average = ratio((cancer[:, ::-1] * precision).sum(axis=1), cancers)
        return auc, np.where(benigns > 0, average, np.nan)


def _intervals(
    predictions: Predictions, groups: NDArray[np.int64] | None, scores: Mapping[str, float | None]
) -> dict[str, list[float] | None]:
    """Interval by name of figure, None where it is undefined."""
    without = scores_without(predictions, groups)
    worth = _worth(predictions, members(len(predictions.files), groups))
    bounds: dict[str, Interval | None] = {}
    for name in worth:
        bounds[name] = _ranked(scores[name], without[name], *worth[name])
    for name, most in _MOST.items():
        value, rests = scores[name], without[name]
        bounds[name] = positive(value, rests, most) if value and len(rests) else None
    for name, (trial, success) in _proportions(predictions).items():
        bounds[name] = proportion(success, trial, groups)
    return {name: None if pair is None else list(pair) for name, pair in bounds.items()}


def _ranked(value: float | None, without: Floats, usual: float, units: int) -> Interval | None:
    """The interval of a figure that is no plain proportion."""
    if value is None or units < 2 or not len(without) or np.isnan(without).any():
        return None
    low, high = of_share(np.asarray(value), without, np.asarray(usual), np.asarray(float(units)))
    return float(low), float(high)


def _worth(predictions: Predictions, member: NDArray[np.int64]) -> dict[str, tuple[float, int]]:
    """How many trials a figure is worth by `usual_trials`, and how many groups are one each.

    The variance of an AUC is at most that of a proportion with as many trials as the smaller side
    has; and where a share 1 - AUC of pairs is the wrong way round, disjoint pairs of a cancer and
    a benign group are all in order with a probability of at most AUC ** pairs. Macro F1 is taken
    for a mean of recalls by class, and its one-sided limit for that of the class with the fewest
    groups.
    """

    def trials(rows: NDArray[np.bool_]) -> tuple[float, int]:
        sizes = np.unique(member[rows], return_counts=True)[1]
        return (float(usual_trials(sizes)), len(sizes)) if len(sizes) else (0.0, 0)

    classes = [trials(predictions.labels == k) for k in np.unique(predictions.labels)]
    mean = len(classes) ** 2 / sum(1 / worth for worth, _ in classes)
    f1 = (mean, min(n for _, n in classes))
    if not predictions.classes.has_cancer:
        return {"macro_f1": f1}
    sides = [trials(predictions.cancer), trials(~predictions.cancer)]
    pairs = min(*(n for _, n in sides), (int(member.max()) + 1) // 2)
    ranking = (min(worth for worth, _ in sides), pairs)
    return {"macro_f1": f1, "roc_auc": ranking, "average_precision": ranking}


def _proportions(
    predictions: Predictions,
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Which images are the trials of each plain proportion, and which are successes, (N,) each."""
    labels, predicted = predictions.labels, predictions.predicted
    hit = labels == predicted
    of_cancer = {}
    if predictions.classes.has_cancer:
        cancer, called = predictions.cancer, predictions.called_cancer
        of_cancer = {"cancer_recall": (cancer, called), "cancer_specificity": (~cancer, ~called)}
    return {
        "accuracy": (np.ones(len(labels), dtype=np.bool_), hit),
        **of_cancer,
        **{
            f"recall.{name}": (labels == i, hit) for i, name in enumerate(predictions.classes.names)
        },
    }
