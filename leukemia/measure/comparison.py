"""Runs compared on the same files: paired differences, and McNemar's test."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from leukemia.classes import without_cancer
from leukemia.errors import UserError
from leukemia.measure.intervals import members, of_difference, student
from leukemia.measure.metrics import log_losses, point_scores, scores_without
from leukemia.measure.predictions import Predictions

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

FIGURES = {
    "accuracy": "accuracy",
    "cancer_recall": "cancer sensitivity",
    "cancer_specificity": "cancer specificity",
    "nll": "NLL",
    "ece": "ECE",
}
LOWER_IS_BETTER = ("nll", "ece")


def compare(
    runs: Mapping[str, Predictions],
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Compare runs with the first of them.

    The 95% intervals are of the differences, paired: from how far leaving out a group moves both
    runs together (`of_difference`; `student` for NLL and ECE). Where the two decide alike on
    every image that counts, the groups have nothing to say: the interval is then the one-sided
    upper limit for no disagreement among the groups, either way. P-values are of McNemar's exact
    test on single images, hence too small where groups hold several; they are not corrected for
    the number of runs. A cancer decision is an argmax.

    Args:
        runs: predictions by the name of the run, two or more; the first is the reference. Their
            files may be in any order.
        groups: which files of the reference belong together, (N,), in its order; None where
            every image stands for itself.

    Returns:
        Plain values: `reference`; `n`; `n_groups`; `figures`, by run and by name (accuracy,
        cancer_recall, cancer_specificity, nll, ece; those of cancer only where a class is benign);
        and `differences`, one for each other run, with `run`; `difference`, its figure less the
        reference's, by name, None where undefined; `interval` by name; `groups` by name, in how
        many of them the run is `better`, `worse` and `equal` (None for ECE, which no group has of
        its own); and `mcnemar`, for `accuracy` (which class) and `cancer` (cancer or benign, where
        a class is benign), each with the images that `only_run` and `only_reference` got right,
        and `p_value`.

    Raises:
        UserError: fewer than two runs, or a run whose classes, files or labels are not the
            reference's.
    """
    if len(runs) < 2:
        raise UserError(f"Expected two or more runs to compare, but got {list(runs)}.")
    (reference, base), *others = runs.items()
    scores = {reference: point_scores(base)}
    left_out = scores_without(base, groups)
    member = members(len(base.files), groups)
    names = without_cancer(FIGURES, base.classes)
    differences = []
    for name, unordered in others:
        run = _aligned(name, unordered, reference, base)
        scores[name] = point_scores(run)
        without = scores_without(run, groups)
        difference = {key: _less(scores[name][key], scores[reference][key]) for key in names}
        gains = _gains(run, base)
        interval = {
            key: _interval(key, value, without[key] - left_out[key], member, gains.get(key))
            for key, value in difference.items()
        }
        tests = {"accuracy": _mcnemar(_hit(run), _hit(base))}
        if base.classes.has_cancer:
            right, reference_right = (_called(one) == one.cancer for one in (run, base))
            tests["cancer"] = _mcnemar(right, reference_right)
        differences.append(
            {
                "run": name,
                "difference": difference,
                "interval": interval,
                "groups": {key: _tally(key, member, gains.get(key)) for key in names},
                "mcnemar": tests,
            }
        )
    return {
        "reference": reference,
        "n": len(base.files),
        "n_groups": int(member.max()) + 1,
        "figures": {name: {key: score[key] for key in names} for name, score in scores.items()},
        "differences": differences,
    }


def comparison_rows(compared: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table, such as `page.table` draws.

    Args:
        compared: what `compare` returned.

    Returns:
        The names of the columns, and a row for each run but the reference.
    """
    names = compared_figures(compared)
    tests = {"accuracy": "McNemar p (class)", "cancer": "McNemar p (cancer)"}
    kinds = [kind for kind in tests if kind in compared["differences"][0]["mcnemar"]]
    header = ["run", *(FIGURES[key] for key in names), *(tests[kind] for kind in kinds)]
    rows = [
        [
            one["run"],
            *(
                _signed(one["difference"][key], one["interval"][key])
                + (_counted(one["groups"][key]) if compared["n_groups"] < compared["n"] else "")
                for key in names
            ),
            *(_tested(one["mcnemar"][kind]) for kind in kinds),
        ]
        for one in compared["differences"]
    ]
    return header, rows


def compared_figures(compared: Mapping[str, Any]) -> list[str]:
    """The names of the figures that `compare` compared, in the order of `FIGURES`."""
    return [key for key in FIGURES if key in compared["figures"][compared["reference"]]]


def _aligned(name: str, run: Predictions, reference: str, base: Predictions) -> Predictions:
    """The run in the reference's order of files."""
    if run.classes != base.classes:
        raise UserError(
            f"Expected run '{name}' to have the classes of '{reference}', {base.classes}, "
            f"but it has {run.classes}."
        )
    for who, table in ((reference, base), (name, run)):
        if len(set(table.files)) < len(table.files):
            twice = next(file for file in table.files if table.files.count(file) > 1)
            raise UserError(f"Expected each file of run '{who}' once, but '{twice}' is repeated.")
    for ours, theirs, one, other in (
        (run.files, base.files, name, reference),
        (base.files, run.files, reference, name),
    ):
        extra = sorted(set(ours) - set(theirs))
        if extra:
            raise UserError(
                f"Expected runs '{reference}' and '{name}' to have predicted the same files, but "
                f"only '{one}' has '{extra[0]}' ({len(extra)} such files not in '{other}'); "
                "evaluate both on the same folder."
            )
    place = {file: i for i, file in enumerate(run.files)}
    order = np.array([place[file] for file in base.files])
    labels = run.labels[order]
    differ = np.flatnonzero(labels != base.labels)
    if len(differ):
        first, names = differ[0], base.classes.names
        raise UserError(
            f"Expected runs '{reference}' and '{name}' to have the same labels, but "
            f"'{base.files[first]}' is {names[base.labels[first]]} in '{reference}' and "
            f"{names[labels[first]]} in '{name}' ({len(differ)} such files)."
        )
    return Predictions(base.files, labels, run.probabilities[order], run.classes)


def _less(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _gains(run: Predictions, base: Predictions) -> dict[str, tuple[Flags, Floats]]:
    """The images that count for a figure, (N,), and what the run gains on each of them."""
    every = np.ones(len(base.files), np.bool_)
    named = _hit(run).astype(np.float64) - _hit(base)
    gains = {"accuracy": (every, named), "nll": (every, log_losses(run) - log_losses(base))}
    if base.classes.has_cancer:
        told = (_called(run) == run.cancer).astype(np.float64) - (_called(base) == base.cancer)
        gains |= {"cancer_recall": (base.cancer, told), "cancer_specificity": (~base.cancer, told)}
    return gains


def _interval(
    figure: str,
    value: float | None,
    without: Floats,
    member: NDArray[np.int64],
    gains: tuple[Flags, Floats] | None,
) -> list[float] | None:
    """The interval of a difference; None where undefined, or one group holds all that counts."""
    if value is None or not len(without) or np.isnan(without).any():
        return None
    if gains is None or figure in LOWER_IS_BETTER:
        bounds = student(value, without)
    else:
        counts, gained = gains
        sizes = np.unique(member[counts], return_counts=True)[1]
        bounds = of_difference(value, without, float(np.abs(gained[counts]).mean()), sizes)
    return None if bounds is None else list(bounds)


def _tally(
    figure: str, member: NDArray[np.int64], gains: tuple[Flags, Floats] | None
) -> dict[str, int] | None:
    """How many groups the run is better on, worse, and neither."""
    if gains is None:
        return None
    counts, gained = gains
    n = int(member.max()) + 1
    present = np.bincount(member[counts], minlength=n) > 0
    of_group = np.bincount(member[counts], gained[counts], minlength=n)[present]
    if figure in LOWER_IS_BETTER:
        of_group = -of_group
    signs = np.sign(np.where(np.abs(of_group) < 1e-12, 0, of_group))
    return {
        name: int((signs == sign).sum())
        for name, sign in (("better", 1), ("worse", -1), ("equal", 0))
    }


def _hit(run: Predictions) -> Flags:
    hit: Flags = run.labels == run.predicted
    return hit


def _called(run: Predictions) -> Flags:
    return run.called_cancer


def _mcnemar(run: Flags, base: Flags) -> dict[str, Any]:
    """Source: Q. McNemar (1947), doi:10.1007/BF02295996; exact, that is, binomial."""
    only_run, only_reference = int((run & ~base).sum()), int((base & ~run).sum())
    disagreed = only_run + only_reference
    p_value = float(binomtest(only_run, disagreed).pvalue) if disagreed else 1.0
    return {"only_run": only_run, "only_reference": only_reference, "p_value": p_value}


def _signed(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "n/a"
    bounds = "" if interval is None else f" [{interval[0]:+.3f}, {interval[1]:+.3f}]"
    return f"{value:+.3f}{bounds}"


def _counted(groups: Mapping[str, int] | None) -> str:
    if groups is None or not sum(groups.values()):
        return ""
    return f", {groups['better']} groups better, {groups['worse']} worse"


def _tested(test: Mapping[str, Any]) -> str:
    return f"{test['p_value']:.2g} ({test['only_run']} : {test['only_reference']})"
