"""The trials of a study, read from its folder: a table, and which setting wins.

``study.json`` says what was to be tried and by which rule; every other fact is read from the
trials' own folders, so the table can be made at any time, also while the study runs.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.measure.intervals import mean_interval
from leukemia.runs.directory import RunDir
from leukemia.runs.plain import check_inside, read_json

LOWER_IS_BETTER = ("nll", "brier", "ece")
HIGHER_IS_BETTER = (
    "accuracy",
    "macro_f1",
    "cancer_recall",
    "cancer_specificity",
    "roc_auc",
    "average_precision",
)


@dataclass(frozen=True)
class Rule:
    """Which setting of a study wins.

    Args:
        metric: a figure of validation in metrics.json; its mean over seeds decides.
        tie_break: figures that decide in turn between settings that are equal so far; at last
            the lower trial number.

    Raises:
        UserError: an unknown figure.
    """

    metric: str = "macro_f1"
    tie_break: tuple[str, ...] = ("nll",)

    def __post_init__(self) -> None:
        """Refuse what could not choose."""
        known = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)
        for name in (self.metric, *self.tie_break):
            if name not in known:
                raise UserError(
                    f"Expected study.metric and study.tie_break to be of {', '.join(known)}, "
                    f"but got '{name}'."
                )

    @property
    def direction(self) -> str:
        """``max`` or ``min``: which end of the metric is better."""
        return _better(self.metric)

    def __str__(self) -> str:
        """The rule in words."""
        best, *ties = (
            f"the {'lowest' if _better(name) == 'min' else 'highest'} {name}"
            for name in (self.metric, *self.tie_break)
        )
        return (
            f"{best} on validation (its mean over seeds); "
            f"between equals {', then '.join([*ties, 'the lower trial number'])}"
        )

    def key(self, means: Mapping[str, float]) -> tuple[float, ...]:
        """Return what sorts settings, the best first.

        Args:
            means: a setting's figures; one that is undefined (nan), such as the specificity
                without benign images, wins nothing.
        """
        return tuple(
            math.inf
            if math.isnan(means[name])
            else means[name] * (1.0 if _better(name) == "min" else -1.0)
            for name in (self.metric, *self.tie_break)
        )


def _better(name: str) -> str:
    return "min" if name in LOWER_IS_BETTER else "max"


DONE, FAILED, PRUNED, STARTED, WAITING = "done", "failed", "pruned", "started", "waiting"
SEED, FOLD = "seed", "split.fold"
REPEATED = (SEED, FOLD)  # trials that differ in these alone repeat one setting


@dataclass(frozen=True)
class Trial:
    """One trial as its folder shows it.

    Args:
        number: its place in the study, and the name of its folder.
        path: its folder.
        settings: what this study varies, as typed.
        status: ``done``, ``failed``, ``pruned`` (given up by a search), ``started`` (running, or
            cut off) or ``waiting``.
        figures: figures of validation; empty before it is done.
        seconds: wall time of its (last) session.
        error: last line of what went wrong, or why it was pruned.
    """

    number: int
    path: Path
    settings: dict[str, str]
    status: str
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    error: str = ""

    @property
    def setting(self) -> tuple[tuple[str, str], ...]:
        """What it shares with the trials that differ in seed or fold alone."""
        return tuple((key, value) for key, value in self.settings.items() if key not in REPEATED)


@dataclass(frozen=True)
class Study:
    """A study's folder.

    Args:
        path: the folder.
        name: of the study.
        rule: which setting wins.
        chart: ``bars``, ``heatmap``, ``curves`` or ``search``.
        trials: in order.
        pooled: whether its trials are the folds of one division, whose predictions are pooled.
    """

    path: Path
    name: str
    rule: Rule
    chart: str
    trials: tuple[Trial, ...]
    pooled: bool = False

    @property
    def repeats(self) -> str:
        """What figures are averaged over, in a word."""
        return "folds" if FOLD in self.varied else "seeds"

    @property
    def varied(self) -> list[str]:
        """The settings that were varied, in order."""
        return list(self.trials[0].settings) if self.trials else []

    @property
    def leaky(self) -> bool:
        """Whether the trials' split leaks on purpose."""
        return any(trial.figures.get("leaky") for trial in self.trials)

    def with_status(self, *statuses: str) -> list[Trial]:
        """The trials in one of these states."""
        return [trial for trial in self.trials if trial.status in statuses]

    def settings(self) -> list[list[Trial]]:
        """The finished trials, those that differ in the seed alone together, in order.

        Of trials that are alike in everything, such as a search may propose, the first counts.
        """
        groups: dict[tuple[tuple[str, str], ...], list[Trial]] = {}
        for trial in self.with_status(DONE):
            group = groups.setdefault(trial.setting, [])
            if all(trial.settings != other.settings for other in group):
                group.append(trial)
        return list(groups.values())

    def winner(self) -> list[Trial]:
        """The trials of the winning setting, one a seed.

        Settings with fewer finished seeds than the others are not compared: their means would
        be over other splits.

        Raises:
            UserError: no trial is done.
        """
        ranked = self.ranked()
        if not ranked:
            raise UserError(f"No trial of '{self.path}' is done: there is no winner.")
        most = max(map(len, ranked))
        return next(group for group in ranked if len(group) == most)

    def ranked(self) -> list[list[Trial]]:
        """The settings with a finished trial, best first by the rule."""
        return sorted(self.settings(), key=self._rank)

    def _rank(self, group: Sequence[Trial]) -> tuple[float, ...]:
        names = (self.rule.metric, *self.rule.tie_break)
        return (*self.rule.key({name: mean(group, name) for name in names}), group[0].number)


def values(group: Sequence[Trial], metric: str) -> list[float]:
    """Return a figure of each trial; nan where it is undefined, as the recall of no image."""
    found = [trial.figures.get(metric) for trial in group]
    return [math.nan if value is None else float(value) for value in found]


def mean(group: Sequence[Trial], metric: str) -> float:
    """Return the mean of a figure over trials; nan where it is undefined in one of them."""
    return sum(values(group, metric)) / len(group)


def having(names: Iterable[str], figures: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of figures that all have: none of cancer where no class is benign."""
    every = list(figures)
    return [name for name in names if all(name in one for one in every)]


def seed_interval(group: Sequence[Trial], metric: str) -> tuple[float, float] | None:
    """Return Student's interval of a figure's mean over seeds, cut where the figure ends.

    Returns:
        Lower and upper limit; None for one seed alone, for seeds that are all equal, or where the
        mean is undefined.
    """
    interval = mean_interval(values(group, metric))
    if interval is None or math.isnan(interval[0]):
        return None
    end = 1.0 if metric in HIGHER_IS_BETTER else math.inf
    return max(0.0, interval[0]), min(end, interval[1])


def number(text: str) -> float | None:
    """Return a setting as a number, or None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def study_file(folder: Path) -> Path:
    """The record of what a study tries."""
    return folder / "study.json"


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what a study tries and by which rule, under a checksum; see `read_study`."""
    sealed = {**record, "sha256": _checksum(record)}
    write_text(study_file(folder), json.dumps(sealed, indent=1) + "\n")


def _checksum(record: Mapping[str, Any]) -> str:
    content = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def trial_folder(folder: Path, number: int) -> Path:
    """The run directory of a trial."""
    return folder / str(number)


def error_file(trial: Path) -> Path:
    """What went wrong in a trial, the whole traceback."""
    return trial / "error.txt"


def pruned_file(trial: Path) -> Path:
    """Why a search gave a trial up."""
    return trial / "PRUNED"


def read_study(folder: Path) -> Study:
    """Read a study from its folder.

    Raises:
        UserError: it is none.
    """
    if not study_file(folder).is_file():
        raise UserError(
            f"Expected '{folder}' to be the folder of a study, but it holds no study.json: name "
            f"one that `python -m leukemia.train -m study=...` made."
        )
    check_inside(folder)
    record = read_json(study_file(folder))
    try:
        name, chart = str(record["name"]), str(record["chart"])
        rule = Rule(record["metric"], tuple(record["tie_break"]))
        settings = [{str(k): str(v) for k, v in trial.items()} for trial in record["trials"]]
        if record["sha256"] != _checksum(record):
            raise UserError("it has changed since the study wrote it")
    except (KeyError, TypeError, AttributeError, UserError) as error:
        raise UserError(
            f"'{study_file(folder)}' is no record of a study ({error}): give the study's command "
            f"again, which writes it anew."
        ) from error
    trials = [
        read_trial(number, trial_folder(folder, number), one) for number, one in enumerate(settings)
    ]
    return Study(folder, name, rule, chart, tuple(trials), bool(record.get("pooled", False)))


def read_trial(number: int, path: Path, settings: dict[str, str]) -> Trial:
    """Read a trial from its folder.

    Raises:
        UserError: it is done, and its figures are not those that it was finished with.
    """
    run = RunDir(path)
    if run.done:
        figures, seconds = run.figures("val"), run.conditions().get("wall_seconds")
        return Trial(number, path, settings, DONE, figures, seconds)
    if pruned_file(path).is_file():
        why = pruned_file(path).read_text(encoding="utf-8").strip()
        return Trial(number, path, settings, PRUNED, error=why)
    if error_file(path).is_file():
        lines = error_file(path).read_text(encoding="utf-8").strip().splitlines() or ["unknown"]
        return Trial(number, path, settings, FAILED, error=lines[-1])
    started = (path / "config.yaml").is_file()
    return Trial(number, path, settings, STARTED if started else WAITING)
