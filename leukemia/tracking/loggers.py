"""Starts the loggers that ``logger=`` names.

Nothing of theirs is imported before they are named: their import takes seconds.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from leukemia.errors import UserError
from leukemia.measure.predictions import Predictions
from leukemia.report.curves import read_history, roc_and_pr
from leukemia.report.figures import confusion_matrix
from leukemia.runs.directory import RunDir
from leukemia.settings.objects import make, prepare
from leukemia.settings.schema import TARGET
from leukemia.tracking.base import (
    History,
    Metrics,
    Tracker,
    Trackers,
    curves,
    not_in_history,
    scalars,
)

if TYPE_CHECKING:
    from leukemia.data.datamodule import ArrayDataModule

_PACKAGES = {"tensorboard": "'leukemia[tensorboard]'", "mlflow": "mlflow"}
# W&B reports how it is used to its maker, also from runs that are offline.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def check_loggers(cfg: DictConfig) -> None:
    """Refuse what ``logger=`` could not be, before anything is computed.

    Raises:
        UserError: a package is missing, or W&B cannot be as WANDB_MODE wants it.
    """
    for name, node in _nodes(cfg):
        if name in _PACKAGES and find_spec(name) is None:
            raise UserError(
                f"logger={name} needs the package '{name}', which is not installed: "
                f"pip install {_PACKAGES[name]} (a new run may use another logger instead)."
            )
        prepare(node, f"logger.{name}")
    if "wandb" in dict(_nodes(cfg)):
        from leukemia.tracking.wandb import choose_mode

        choose_mode()


def make_trackers(cfg: DictConfig, run: RunDir, more: Sequence[Tracker] = ()) -> Trackers:
    """Start what ``logger=`` names, and tell our own of the epochs of a run that goes on.

    Args:
        cfg: the settings, for which `check_loggers` did not raise.
        run: the run directory; a logger that takes a ``save_dir`` writes there.
        more: other trackers, which are told last, for one may end the run.
    """
    trackers: list[Tracker] = []
    loggers: list[Logger] = []
    for name, node in _nodes(cfg):
        if node[TARGET].startswith("leukemia.tracking.wandb."):
            from leukemia.tracking.wandb import choose_mode

            if choose_mode() == "disabled":
                continue
        made = make(node, f"logger.{name}", object, cfg=cfg, run=run, save_dir=str(run.path))
        if isinstance(made, Logger):
            loggers.append(made)
        elif isinstance(made, Tracker):
            trackers.append(made)
        else:
            raise UserError(
                f"Expected logger.{name}._target_ to be a logger of Lightning's, but it makes a "
                f"{type(made).__name__}."
            )
    loggers += [found for one in trackers if (found := getattr(one, "logger", None)) is not None]
    started = Trackers([*trackers, *more], loggers)
    if run.history.is_file():
        with ExitStack() as on_error:  # one of them may end the trial here
            on_error.push(started.__exit__)
            started.log(read_history(run.history))
            on_error.pop_all()
    return started


def _nodes(cfg: DictConfig) -> list[tuple[str, DictConfig]]:
    nodes = cfg.get("logger") or {}
    return [(str(name), node) for name, node in nodes.items() if node is not None]


class _Beside(TensorBoardLogger):
    """Takes what callbacks log; losses and figures are written by epoch over all stages."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write what is not in history.csv."""
        super().log_metrics(not_in_history(metrics), step)

    def finalize(self, status: str) -> None:
        """Keep the file open: another stage may follow."""
        self.experiment.flush()

    def save(self) -> None:
        """Write no hparams.yaml: config.yaml has all settings."""


class TensorBoardTracker:
    """One step axis over all stages: the epoch, counted on.

    Args:
        cfg: the settings, shown as text.
        run: its folder ``tensorboard`` receives the event files.
    """

    def __init__(self, cfg: DictConfig, run: RunDir) -> None:
        """Open a new event file."""
        # A killed writer may have lost its last rows: all are written again, and what earlier
        # files hold is dropped by the reader.
        self.logger = _Beside(run.path, "tensorboard", "", purge_step=0)
        self.writer = self.logger.experiment
        self.writer.add_text("config", f"```yaml\n{OmegaConf.to_yaml(cfg, resolve=True)}```")
        self.sent = 0

    def log(self, history: History) -> None:
        """Write the epochs that are new."""
        for row in history[self.sent :]:
            self.sent += 1
            for name, value in curves(row).items():
                self.writer.add_scalar(name, value, self.sent)
        self.writer.flush()

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Write the figures of each part at the last epoch."""
        for part, table in predictions.items():
            for name, value in scalars(metrics[part], part).items():
                self.writer.add_scalar(name, value, self.sent)
            figures = {"confusion": confusion_matrix(metrics[part]["confusion"], table.classes)}
            if table.classes.has_cancer:
                figures["roc_and_pr"] = roc_and_pr({part: table})
            for name, figure in figures.items():
                self.writer.add_figure(f"{part}/{name}", figure, self.sent)

    def close(self, *, failed: bool) -> None:
        """Close the event file."""
        self.writer.close()
