"""What of a run's settings belongs to the machine, and not to what is trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from leukemia.errors import UserError

PLACES = (
    *("data.root", "data.file", "data.groups", "data.cache_dir", "split.file"),
    "model.backbone.weights",
)
"""Where things lie. What lies there is compared with what the run began with: images and parts
with its split.csv, sha256 by sha256, and the backbone with its backbone.sha256."""

IMAGES = ("data.root", "data.file", "data.cache_dir", "data.workers")
"""What it takes to find the images of a finished run."""

MACHINE = (
    *PLACES,
    *("data.workers", "trainer.accelerator", "trainer.devices", "trainer.num_workers"),
    *("trainer.precision", "trainer.threads", "trainer.eval_batch_size", "trainer.progress"),
    *("trainer.save_every", "report.map"),
)
"""May be given with ``resume=``, for the run goes on by the same settings wherever it is.

Figures do not depend on places, workers, progress, the time between states and the map of the
report; to the last bits on threads, the batches of prediction, accelerator and device; to the
rounding of half precision on ``trainer.precision``. A run that goes on in another precision than
it began in is therefore a run of its own, and environment.json tells each session's.
"""

KEPT = (*PLACES, "trainer.precision", "report.map")
"""Stand in config.yaml from then on: later verbs look there, and compute as the run's end did.
The others are of one session."""

_COMPARED = ("trainer.precision", "data.groups", "split.file", "model.backbone.weights")
NO_MATTER = tuple(key for key in MACHINE if key not in _COMPARED)
"""May differ between the trials of a study. Those are compared, so their precision, the tables
that divide the images and the weights that they begin with may not."""

# Settings that the groups of another choice bring: what names them takes this choice.
CHOICE_OF = {"data.file": "data=embeddings", "split.file": "split=file"}


def choices_for(arguments: Sequence[str]) -> list[str]:
    """Return the choices without which Hydra would not know a setting given with ``resume=``."""
    keys = {argument.partition("=")[0] for argument in arguments}
    if "resume" not in keys:
        return []
    return [choice for key, choice in CHOICE_OF.items() if key in keys]


def given(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the machine that came with ``resume=``.

    Args:
        cfg: the settings as composed.
        overrides: of the command line, as typed.

    Raises:
        UserError: another setting came too.
    """
    keys = [text.partition("=")[0] for text in overrides]
    helping = [choice for key, choice in CHOICE_OF.items() if key in keys]
    others = [
        text
        for key, text in zip(keys, overrides, strict=True)
        if key not in ("resume", *MACHINE) and text not in helping
    ]
    if others:
        raise UserError(
            f"resume= goes on with the run's own settings, but got also {others}: drop them. "
            f"Only what belongs to the machine may be given anew: {', '.join(MACHINE)}."
        )
    return {key: _absolute(key, OmegaConf.select(cfg, key)) for key in keys if key in MACHINE}


def machine_of(here: DictConfig, stored: DictConfig) -> dict[str, Any]:
    """Return the settings of this machine for a trial that goes on.

    Args:
        here: the settings of the command, which has all of them, settled.
        stored: of the trial.
    """
    both = {key: (OmegaConf.select(here, key), OmegaConf.select(stored, key)) for key in NO_MATTER}
    return {key: now for key, (now, before) in both.items() if now != before}


def take_over(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """Return the settings of a run with those of this machine.

    Args:
        cfg: of the run.
        values: by name.

    Raises:
        UserError: the run has no such setting.
    """
    cfg = cfg.copy()
    for key, value in values.items():
        parent, _, name = key.rpartition(".")
        if name not in (OmegaConf.select(cfg, parent) or {}) or (
            key == "data.root" and cfg.data.name in ("synthetic", "embeddings")
        ):
            raise UserError(
                f"{key}={value} says nothing to a run of data={cfg.data.name} and "
                f"split={cfg.split.name}: drop it."
            )
        OmegaConf.update(cfg, key, value)
    return cfg


def _absolute(key: str, value: object) -> object:
    # So that the run can be used from any working directory.
    if key not in PLACES or value in (None, "DEFAULT"):
        return value
    return str(Path(str(value)).expanduser().absolute())
