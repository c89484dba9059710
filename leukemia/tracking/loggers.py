"""Starts the trackers that ``logger=`` names.

Nothing of theirs is imported here: their import takes seconds.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec

from omegaconf import DictConfig

from leukemia.errors import UserError
from leukemia.report.history import read_history
from leukemia.runs.directory import RunDir
from leukemia.tracking.base import Tracker, Trackers

# W&B reports how it is used to its maker, also from runs that are offline.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


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


def make_trackers(cfg: DictConfig, run: RunDir, more: Sequence[Tracker] = ()) -> Trackers:
    """Start the trackers of ``logger=``, and tell them of the epochs of a run that goes on.

    Args:
        cfg: the settings, for which `check_loggers` did not raise.
        run: the run directory.
        more: others, which are told last, for one may end the run.
    """
    trackers: list[Tracker] = []
    if _chosen(cfg, "tensorboard"):
        from leukemia.tracking.tensorboard import TensorBoardTracker

        trackers.append(TensorBoardTracker(cfg, run))
    if _chosen(cfg, "wandb"):
        from leukemia.tracking.wandb import WandbTracker, choose_mode

        if (mode := choose_mode()) != "disabled":
            trackers.append(WandbTracker(cfg, run, mode))
    started = Trackers([*trackers, *more])
    if run.history.is_file():
        with ExitStack() as on_error:  # one of them may end the trial here
            on_error.push(started.__exit__)
            started.log(read_history(run.history))
            on_error.pop_all()
    return started


def _chosen(cfg: DictConfig, name: str) -> bool:
    return bool((cfg.get("logger") or {}).get(name))
