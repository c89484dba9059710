"""The operating point: from which P(cancer) on an image is called cancer, and what that costs.

An image is called cancer where its P(cancer) is at least the threshold.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukemia.classes import Classes
from leukemia.errors import UserError, check_number
from leukemia.measure.intervals import members, proportion
from leukemia.measure.predictions import Predictions, cancer_probability, is_cancer

Floats = NDArray[np.float64]

HALF = 0.5


def choose_threshold(predictions: Predictions, sensitivity: float) -> float:
    """The threshold on P(cancer) for a wanted sensitivity, on the safe side.

    In three steps, of which only the first can be undone by new images:

    1. The largest threshold that calls at least the wanted share of these cancers; it is the
       P(cancer) of one of them, and images of equal P(cancer) are called together.
    2. It is lowered to just above the highest benign image below it. That raises no false alarm
       here and can only find more cancers: between those two scores these images cannot tell
       benign from cancer, and a missed cancer is the worse error. Where the images are perfectly
       separated, this is the lower end of the gap, neither its middle nor its upper end.
    3. It is never above 0.5: nobody who asks for few missed cancers means more of them than the
       plain decision makes.

    So the sensitivity here is at least the wanted one, and at least that at 0.5.

    Args:
        predictions: the part to choose on, with at least one cancer; never the test part.
        sensitivity: the wanted share of cancers called cancer, in (0, 1].

    Returns:
        The threshold, in [0, 0.5].

    Raises:
        UserError: `sensitivity` outside (0, 1], or no cancer among the images.
    """
    check_number("the wanted sensitivity", sensitivity, "in (0, 1]", lambda x: 0 < x <= 1)
    cancer = np.sort(predictions.p_cancer[predictions.cancer])
    benign = predictions.p_cancer[~predictions.cancer]
    n = len(cancer)
    if not n:
        raise UserError(
            "Expected at least one cancer image to choose a threshold on, "
            f"but all {len(benign)} images are {predictions.classes.benign_words}."
        )
    found = (n - np.searchsorted(cancer, cancer)) / n
    largest = cancer[found >= sensitivity].max()
    below = benign[benign < largest]
    lowest = np.nextafter(below.max(), 1) if len(below) else largest
    return float(min(lowest, HALF))


def at_threshold(
    predictions: Predictions,
    threshold: float,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """What calling cancer from a threshold on does to these images.

    Args:
        predictions: N files with labels and probabilities.
        threshold: the least P(cancer) that is called cancer.
        groups: which files belong together, (N,); None where every image stands for itself.

    Returns:
        Plain values: `threshold`; `sensitivity` and `specificity` in [0, 1], None where no image
        has the class, with their 95% `interval` by name (`intervals.proportion`); the counts
        `cancers`, `benigns`, `false_positives`; and `false_negatives`, each with `file`, `label`
        and `p_cancer`, the most surely missed first.
    """
    cancer, called = predictions.cancer, predictions.p_cancer >= threshold
    shares = {"sensitivity": (called, cancer), "specificity": (~called, ~cancer)}
    missed = np.flatnonzero(cancer & ~called)
    return {
        "threshold": float(threshold),
        **{
            name: float(right[trial].mean()) if trial.any() else None
            for name, (right, trial) in shares.items()
        },
        "interval": {
            name: _listed(proportion(right, trial, groups))
            for name, (right, trial) in shares.items()
        },
        "cancers": int(cancer.sum()),
        "benigns": int((~cancer).sum()),
        "false_positives": int((called & ~cancer).sum()),
        "false_negatives": [
            {
                "file": predictions.files[i],
                "label": predictions.classes.names[predictions.labels[i]],
                "p_cancer": float(predictions.p_cancer[i]),
            }
            for i in missed[np.argsort(predictions.p_cancer[missed], kind="stable")]
        ],
    }


def sensitivity_at_specificity(
    predictions: Predictions,
    specificities: Sequence[float] = (0.90, 0.95, 0.99),
    groups: NDArray[np.int64] | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The highest sensitivity among thresholds whose specificity is at least the given one.

    Nothing is interpolated: only points that a threshold reaches count, so that the figure is
    never above the ROC curve's. Calling no image cancer (specificity 1) is one of them.

    Args:
        predictions: N files with labels and probabilities.
        specificities: the wanted shares of benign images called benign, each in [0, 1].
        groups: which files belong together, (N,); None where every image stands for itself.
        n_boot: number of resamples of the groups; each chooses its threshold anew.
        seed: seed of the resamples.

    Returns:
        For each one `specificity`, `sensitivity` (None where cancer or benign images are
        absent), its 95% `interval`, and the `threshold` on P(cancer), None where none calls an
        image. The interval is that of the sensitivity at the threshold (`intervals.proportion`),
        wider by what the choice of the threshold adds to its variance.
    """
    cancer, score = predictions.cancer, predictions.p_cancer
    member = members(len(score), groups)
    n_groups = int(member.max()) + 1
    drawn = bootstrap_weights(n_groups, n_boot, seed)[:, member]
    rows = []
    for specificity in specificities:
        row: dict[str, Any] = {"specificity": float(specificity)}
        row |= {"sensitivity": None, "interval": None, "threshold": None}
        if 0 < cancer.sum() < len(cancer):
            value, place = _best(cancer, score, np.ones((1, len(score))), specificity)
            threshold = float(place[0])
            row["sensitivity"] = float(value[0])
            row["threshold"] = threshold if np.isfinite(threshold) else None
            resampled = _best(cancer, score, drawn, specificity)[0]
            resampled = resampled[~np.isnan(resampled)]
            moved = 0.0
            if len(resampled) and n_groups > 1:
                moved = float(np.var(resampled)) * n_groups / (n_groups - 1)
            bounds = proportion(score >= threshold, cancer, groups, least_variance=moved)
            row["interval"] = _listed(bounds)
        rows.append(row)
    return rows


def bootstrap_weights(n_groups: int, n_boot: int, seed: int) -> Floats:
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


def _best(
    cancer: NDArray[np.bool_], score: Floats, weights: Floats, specificity: float
) -> tuple[Floats, Floats]:
    """The best sensitivity (B,), nan without cancer or benign, and the threshold that gives it."""
    order = np.argsort(-score, kind="stable")
    # The last of equal scores: they share one threshold.
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    ordered = weights[:, order]
    found = np.cumsum(ordered * cancer[order], axis=1)[:, ends]
    alarms = np.cumsum(ordered * ~cancer[order], axis=1)[:, ends]
    with np.errstate(invalid="ignore"):  # a resample without cancer or benign images: nan
        sensitivity = found / found[:, -1:]
        # By counts, because 1 - alarms / n would fall short of 0.9 by rounding.
        kept = (alarms[:, -1:] - alarms) / alarms[:, -1:] >= specificity
    reached = np.where(kept, sensitivity, 0)
    best = reached.argmax(axis=1)  # the first, so the highest threshold of equal ones
    value = reached[np.arange(len(best)), best]
    defined = (found[:, -1] > 0) & (alarms[:, -1] > 0)
    threshold = np.where(value > 0, score[order][ends][best], np.inf)
    return np.where(defined, value, np.nan), threshold


def review_confidence(probabilities: Floats, share: float) -> float:
    """The top probability below which the least certain images are sent to a human.

    Args:
        probabilities: (N, C) of the part to choose on.
        share: how many of these images may be below it, in [0, 1).

    Returns:
        A confidence in [0, 1], that of an image; at most `share` of the images lie below it, and
        fewer where several are exactly there.

    Raises:
        UserError: `share` outside [0, 1).
    """
    if not 0 <= share < 1:
        raise UserError(f"Expected the share to review to be in [0, 1), but got {share}.")
    # A row may sum to just above 1 by rounding.
    top = np.minimum(np.sort(probabilities.max(axis=1)), 1)
    return float(top[at_most(share, len(top))])


def at_most(share: float, n: int) -> int:
    """How many of `n` images are not more than a share of them, below `n`.

    Args:
        share: in [0, 1).
        n: number of images, at least 1.
    """
    # By comparing shares: `share * n` may round to below the whole number that it is.
    return int(np.flatnonzero(np.arange(n) / n <= share)[-1])


def uncertain(
    probabilities: Floats, classes: Classes, threshold: float, confidence: float
) -> NDArray[np.bool_]:
    """Which images a human should look at; where no class is benign, see `unsure`.

    An image is certain only where its top probability is at least `confidence` and its three
    decisions on cancer agree: P(cancer) against `threshold`, P(cancer) against 0.5, and whether
    the most probable class is a cancerous one. So an image between the two limits is uncertain
    (the lower limit belongs to it, the upper does not), and so is one called benign of which the
    cancerous classes together are more probable.

    Args:
        probabilities: (N, C), calibrated, rows summing to 1.
        classes: names and order of the C classes.
        threshold: of the operating point, on P(cancer).
        confidence: the least top probability that is certain, from `review_confidence`.

    Returns:
        (N,), true where uncertain.
    """
    p_cancer = cancer_probability(probabilities, classes)
    called = p_cancer >= threshold
    named = is_cancer(probabilities.argmax(axis=1), classes)
    torn = (called != (p_cancer >= HALF)) | (called != named)
    doubtful: NDArray[np.bool_] = torn | unsure(probabilities, confidence)
    return doubtful


def unsure(probabilities: Floats, confidence: float) -> NDArray[np.bool_]:
    """Which images' top probability, of probabilities (N, C), is below a confidence, (N,)."""
    below: NDArray[np.bool_] = probabilities.max(axis=1) < confidence
    return below


def _listed(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else list(bounds)
