"""Tells a search of each epoch, and ends the trial where the search prunes it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from leukemia.errors import Pruned
from leukemia.measure.predictions import Predictions
from leukemia.runs.directory import RunDir
from leukemia.study.search import open_trial
from leukemia.tracking.base import History, Metrics

if TYPE_CHECKING:
    from leukemia.data.datamodule import ArrayDataModule


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
