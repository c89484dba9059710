"""Where figures go beside the run directory: Weights & Biases, TensorBoard, or nowhere.

Nothing of theirs is imported here: their import takes seconds.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import DictConfig, OmegaConf

from leukemia.errors import Pruned, UserError
from leukemia.report.history import Cell, read_history
from leukemia.report.predictions import Predictions
from leukemia.run import RunDir

if TYPE_CHECKING:
    from leukemia.data.datamodule import ArrayDataModule

# W&B reports how it is used to its maker, also from runs that are offline.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

History = Sequence[Mapping[str, Cell]]
Metrics = Mapping[str, Mapping[str, Any]]

CURVES = "curves"  # what is measured each epoch; the figures of a part stand under its name
EPOCH = f"{CURVES}/epoch"  # the one step axis, counted on through all stages


class Tracker(Protocol):
    """Takes figures while a run goes on."""

    def log(self, history: History) -> None:
        """Take the rows of all epochs so far; those it has already are passed over."""

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Take the final figures, by part, and what they were computed from.

        Args:
            metrics: as in metrics.json.
            predictions: of the same parts, in the order of the rows of ``data.parts``.
            data: the images or embeddings.
        """

    def close(self, *, failed: bool) -> None:
        """End the tracker; nothing may come after."""


class Trackers:
    """The trackers of a run, as a context that closes them whatever happens inside.

    Args:
        trackers: any number, also none.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        """Store the trackers."""
        self.trackers = tuple(trackers)

    def log(self, history: History) -> None:
        """Hand on the rows of all epochs so far."""
        for tracker in self.trackers:
            tracker.log(history)

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Hand on the final figures, see `Tracker.conclude`."""
        for tracker in self.trackers:
            tracker.conclude(metrics, predictions, data)

    def __enter__(self) -> "Trackers":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all trackers; a run that ended by an error, or Ctrl-C, failed."""
        for tracker in self.trackers:
            tracker.close(failed=kind not in (None, Pruned))


def check_loggers(cfg: DictConfig) -> None:
    """Refuse what ``logger=`` could not be, before anything is computed.

    Raises:
        UserError: a package is missing, or W&B cannot be as WANDB_MODE wants it.
    """
    if _chosen(cfg, "tensorboard") and find_spec("tensorboard") is None:
        raise UserError(
            "logger=tensorboard needs the package 'tensorboard', which is not installed: "
            "pip install 'leukemia[tensorboard]' (a new run may use another logger instead)."
        )
    if _chosen(cfg, "wandb"):
        from leukemia.tracking.wandb import choose_mode

        choose_mode()


def make_trackers(cfg: DictConfig, run: RunDir) -> Trackers:
    """Start the trackers of ``logger=``, and tell them of the epochs of a run that goes on.

    Args:
        cfg: the settings, for which `check_loggers` did not raise.
        run: the run directory.
    """
    trackers: list[Tracker] = []
    if _chosen(cfg, "tensorboard"):
        from leukemia.tracking.tensorboard import TensorBoardTracker

        trackers.append(TensorBoardTracker(cfg, run))
    if _chosen(cfg, "wandb"):
        from leukemia.tracking.wandb import WandbTracker, choose_mode

        if (mode := choose_mode()) != "disabled":
            trackers.append(WandbTracker(cfg, run, mode))
    if OmegaConf.select(cfg, "study.pruner") is not None:
        from leukemia.tracking.pruning import PruningTracker

        trackers.append(PruningTracker(cfg, run))  # last, for it may end the trial
    started = Trackers(trackers)
    if run.history.is_file():
        with ExitStack() as on_error:  # the pruner may end the trial here
            on_error.push(started.__exit__)
            started.log(read_history(run.history))
            on_error.pop_all()
    return started


def curves(row: Mapping[str, Cell]) -> dict[str, float]:
    """The numbers of an epoch's row, by the name under which they are tracked."""
    return {
        f"{CURVES}/{name}": value
        for name, value in row.items()
        if name != "epoch" and isinstance(value, int | float)
    }


def scalars(figures: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Every single number of a part's figures, by name: ``val/recall/Early``.

    Args:
        figures: numbers, and mappings of such; what is undefined or a table is left out. A pair
            is an interval: ``/low`` and ``/high``.
        prefix: comes before every name, such as ``val``.
    """
    found: dict[str, float] = {}
    for name, value in figures.items():
        key = f"{prefix}/{name}"
        if isinstance(value, Mapping):
            found |= scalars(value, key)
        elif isinstance(value, int | float):
            found[key] = value
        elif isinstance(value, list) and [type(x) for x in value] == [float, float]:
            found |= {f"{key}/low": value[0], f"{key}/high": value[1]}
    return found


def _chosen(cfg: DictConfig, name: str) -> bool:
    return bool((cfg.get("logger") or {}).get(name))
