"""A search by Optuna: which settings to try next, kept in SQLite in the study's folder.

Optuna only proposes and prunes. What a trial did is read from its own folder, as in any study.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from leukemia.errors import Pruned, UserError
from leukemia.measure.predictions import Predictions
from leukemia.runs.directory import RunDir
from leukemia.study.record import DONE, FAILED, PRUNED, Rule, Trial
from leukemia.tracking.base import History, Metrics

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from leukemia.data.datamodule import ArrayDataModule


@dataclass(frozen=True)
class Interval:
    """Real numbers.

    Args:
        low: the least.
        high: the greatest.
        log: whether ratios count, not differences.
    """

    low: float
    high: float
    log: bool = False

    def distribution(self) -> "BaseDistribution":
        """As Optuna names it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choices:
    """Values without an order.

    Args:
        values: as typed.
    """

    values: tuple[str, ...]

    def distribution(self) -> "BaseDistribution":
        """As Optuna names it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


_NAME = "search"  # of the one study in a database
EVERY_EPOCH = ("nll", "accuracy", "cancer_recall")  # figures of validation that history.csv has


@dataclass(frozen=True)
class Proposal:
    """A trial of a search.

    Args:
        number: its place, from 0.
        settings: what is tried, by setting.
    """

    number: int
    settings: dict[str, str]


class Search:
    """The trials proposed so far, and the next ones.

    The proposal of a trial depends on its number and on what the trials before it gave, not on
    how often the search was stopped.

    Args:
        folder: of the study; receives ``optuna.db``.
        settings: the settings ``study``.
        space: what is searched, by setting.

    Raises:
        UserError: settings that cannot be, another space or metric than before, or Optuna is
            missing.
    """

    def __init__(
        self, folder: Path, settings: DictConfig, space: Mapping[str, Interval | Choices]
    ) -> None:
        """Open the search, new or begun."""
        if find_spec("optuna") is None:
            raise UserError("study=search needs an extra: pip install 'leukemia[search]'.")
        import optuna

        self.rule = Rule(settings.metric, tuple(settings.tie_break))
        _check(settings, space)
        self.space = {key: of.distribution() for key, of in space.items()}
        self.trials, self.seed = int(settings.trials), int(settings.seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=storage(folder),
            study_name=_NAME,
            direction="maximize" if self.rule.direction == "max" else "minimize",
            load_if_exists=True,
        )
        self._check_begun(folder)

    def _check_begun(self, folder: Path) -> None:
        import optuna

        begun = self.study.user_attrs.get("metric", self.rule.metric)
        if begun != self.rule.metric:
            raise UserError(
                f"'{folder}' holds a search by {begun}, but got study.metric={self.rule.metric}: "
                f"choose another study.name=, or search by {begun} again."
            )
        self.study.set_user_attr("metric", self.rule.metric)
        for trial in self.study.get_trials(deepcopy=False):
            found = trial.distributions
            other = {key for key, kind in found.items() if self.space.get(key) != kind}
            if trial.state.is_finished():
                other |= set(self.space) - set(found)
            if other:
                raise UserError(
                    f"'{folder}' holds a search of another space ({', '.join(sorted(other))}): "
                    f"choose another study.name=, or give the space that it was begun with."
                )
            if not trial.state.is_finished():
                self._propose(optuna.Trial(self.study, trial._trial_id))

    def _propose(self, trial: "optuna.Trial") -> Proposal:
        """Draw each setting by itself: a kill in between leaves those drawn, and moves no other."""
        import optuna

        for place, (key, kind) in enumerate(self.space.items()):
            seed = self.seed + 1000 * trial.number + place
            self.study.sampler = optuna.samplers.TPESampler(seed=seed)
            if isinstance(kind, optuna.distributions.FloatDistribution):
                trial.suggest_float(key, kind.low, kind.high, log=kind.log)
            elif isinstance(kind, optuna.distributions.CategoricalDistribution):
                trial.suggest_categorical(key, kind.choices)
        return _proposal(trial)

    def running(self) -> list[Proposal]:
        """The trials that have not told what they gave, in order."""
        import optuna

        running = (optuna.trial.TrialState.RUNNING,)
        return [_proposal(t) for t in self.study.get_trials(deepcopy=False, states=running)]

    def proposed(self) -> list[Proposal]:
        """Every trial so far, in order."""
        return [_proposal(trial) for trial in self.study.get_trials(deepcopy=False)]

    def left(self) -> int:
        """How many trials are still to run, whole or from where they were cut off."""
        begun = self.study.get_trials(deepcopy=False)
        return max(0, self.trials - len(begun)) + len(self.running())

    def next(self, n: int) -> list[Proposal]:
        """The trials to run now: those that were cut off, and new ones.

        Args:
            n: at most so many at a time.

        Returns:
            The trials; none where the search is over.
        """
        known, begun = len(self.study.get_trials(deepcopy=False)), self.running()[:n]
        new = min(self.trials - known, n - len(begun))
        return [*begun, *(self._propose(self.study.ask()) for _ in range(new))]

    def tell(self, ended: Sequence[Trial]) -> None:
        """Take what trials gave; those that were cut off stay open.

        Args:
            ended: the trials, read from their folders.
        """
        from optuna.trial import TrialState

        for trial in ended:
            if trial.status == DONE and trial.figures[self.rule.metric] is not None:
                self.study.tell(trial.number, trial.figures[self.rule.metric])
            elif trial.status == PRUNED:
                self.study.tell(trial.number, state=TrialState.PRUNED)
            elif trial.status in (DONE, FAILED):
                self.study.tell(trial.number, state=TrialState.FAIL)


def storage(folder: Path) -> "optuna.storages.RDBStorage":
    """Open what Optuna keeps of a search.

    Args:
        folder: of the study.
    """
    import optuna

    return optuna.storages.RDBStorage(f"sqlite:///{(folder / 'optuna.db').absolute()}")


def open_trial(folder: Path, number: int, pruner: Mapping[str, int]) -> "optuna.Trial":
    """Return a trial of a search, to report its epochs to.

    Args:
        folder: of the study.
        number: of the trial.
        pruner: the settings ``study.pruner``.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = storage(folder)
    study = optuna.load_study(
        study_name=_NAME,
        storage=kept,
        sampler=optuna.samplers.RandomSampler(0),  # nothing is proposed here
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=pruner["startup_trials"], n_warmup_steps=pruner["warmup_epochs"]
        ),
    )
    known = kept.get_trial_id_from_study_id_trial_number(study._study_id, number)
    return optuna.Trial(study, known)


def _proposal(trial: "optuna.Trial | optuna.trial.FrozenTrial") -> Proposal:
    # Four digits: a table that can be read, and a value that is typed again as it stands.
    settings = {
        key: f"{value:.4g}" if isinstance(value, float) else str(value)
        for key, value in trial.params.items()
    }
    return Proposal(trial.number, settings)


def _check(settings: DictConfig, space: Mapping[str, Interval | Choices]) -> None:
    if not space:
        raise UserError(
            "A search needs a setting to search, such as 'loss.lambda_bce=interval(0.25,4)'."
        )
    for key, of in space.items():
        if isinstance(of, Interval) and not (of.low < of.high and (of.low > 0 or not of.log)):
            raise UserError(
                f"Expected {key} to be an interval from low to high, with log above 0, but got "
                f"{of.low:g} to {of.high:g}."
            )
    if settings.fail_fast:
        raise UserError("A search goes on after a trial that failed: drop study.fail_fast.")
    if not isinstance(settings.trials, int) or settings.trials < 1:
        raise UserError(f"Expected study.trials to be 1 or more, but got '{settings.trials}'.")
    if settings.pruner is not None and settings.metric not in EVERY_EPOCH:
        raise UserError(
            f"Trials are pruned by study.metric, which must then be one of "
            f"{', '.join(EVERY_EPOCH)}, but got '{settings.metric}': study.pruner=null prunes none."
        )


class PruningTracker:
    """Reports the figure that chooses the winner; the step is the epoch, counted on.

    Args:
        cfg: the settings; ``study`` is read.
        run: the trial's directory, in that of the study.
    """

    def __init__(self, cfg: DictConfig, run: RunDir) -> None:
        """Find the trial in the search."""
        self.column = f"val_{cfg.study.metric}"
        self.trial = open_trial(run.path.parent, int(run.path.name), cfg.study.pruner)
        self.sent = 0

    def log(self, history: History) -> None:
        """Report the epochs that are new.

        Raises:
            Pruned: the search gives this trial up.
        """
        for step in range(self.sent, len(history)):
            self.sent = step + 1
            value = history[step].get(self.column)
            if not isinstance(value, int | float):
                continue
            if step not in self.trial.storage.get_trial(self.trial._trial_id).intermediate_values:
                self.trial.report(value, step)
            if self.trial.should_prune():
                raise Pruned(f"pruned after epoch {self.sent}: {self.column} {value:.4g}")

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Do nothing: the search reads the trial's folder."""

    def close(self, *, failed: bool) -> None:
        """Do nothing."""
