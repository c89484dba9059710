"""Starts the loggers that ``logger=`` names.

Nothing of theirs is imported before they are named: their import takes seconds.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from leukemia.errors import UserError
from leukemia.report.history import read_history
from leukemia.runs.directory import RunDir
from leukemia.settings.objects import make, prepare
from leukemia.settings.schema import TARGET
from leukemia.tracking.base import Tracker, Trackers

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
