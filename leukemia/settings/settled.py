"""Settings of a run: fixed when it starts, compared when it goes on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from leukemia.errors import UserError
from leukemia.settings import schema
from leukemia.settings.kinds import Kind

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
    *("data.workers", "trainer.accelerator", "trainer.devices", "runtime.num_workers"),
    *("trainer.precision", "runtime.threads", "runtime.eval_batch_size", "runtime.progress"),
    *("runtime.save_every", "report.map"),
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


def asked(cfg: DictConfig) -> dict[str, Any]:
    """Return what a verb that opens a run says of ``trainer`` and ``runtime``, by name."""
    return {
        key: value
        for node in (cfg.trainer, cfg.runtime)
        for key, value in node.items()
        if value is not None
    }


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
        if key not in ("resume", "trust", *MACHINE) and text not in helping
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


# They change neither data nor training: the rule of a study, trials at a time, the machine.
_NO_MATTER = ("study", "n", "trust", *NO_MATTER)


def settle(cfg: DictConfig, *, multirun: bool) -> None:
    """Fix what depends on how and where a command was given.

    Args:
        cfg: the settings, changed in place.
        multirun: whether the run is one of several.

    Raises:
        UserError: a setting that nothing reads or that cannot be, several devices for a run, or
            `data.floors` is no audit.json.
    """
    with open_dict(cfg):
        cfg.pop("hydra", None)  # where they were composed by hand with it
    schema.check(cfg, "train")
    if cfg.open_test is None:
        cfg.open_test = not multirun
    for key, kinds in schema.paths("train").items():
        # So that the run can be used from any working directory. The floors are read below, and
        # `resume` names a run and is none of its settings.
        value = OmegaConf.select(cfg, key)
        if value is None or Kind.FREE in kinds or key == "resume":
            continue
        if value == "DEFAULT" or (key == "data.cache_dir" and str(value).startswith("~")):
            continue
        OmegaConf.update(cfg, key, str(Path(str(value)).expanduser().absolute()))
    if isinstance(cfg.data.get("floors"), str):
        cfg.data.floors = _floors(Path(cfg.data.floors).expanduser())
    for group in ("data", "split", "model"):
        if "name" not in cfg[group]:  # in a file of the user's own
            with open_dict(cfg):
                cfg[group].name = str(cfg[group].get("_target_")).rpartition(".")[2]
    devices = cfg.trainer.devices
    one = len(devices) == 1 if OmegaConf.is_list(devices) else str(devices) == "1"
    if not one:
        raise UserError(
            f"A run takes one device, but got trainer.devices={devices}: use -m and "
            f"launcher=local n=<number of GPUs> for a run on each."
        )


def last_stage(cfg: DictConfig) -> str:
    """Return the name of the last stage, whose weights a run keeps: ``head`` or ``finetune``."""
    return "head" if cfg.data.name == "embeddings" else str(list(cfg.stages)[-1])


def is_refitted(cfg: DictConfig) -> bool:
    """Whether the weights that a run keeps learnt from training and validation together."""
    return bool(cfg.stage[last_stage(cfg)].refit)


def _floors(path: Path) -> dict[str, float]:
    """Return the accuracies that an audit found on split=paper."""
    try:
        floors = json.loads(path.read_text(encoding="utf-8"))["floors"]
        return {f["features"]: float(f["accuracy"]) for f in floors if f["protocol"] == "paper"}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"Expected data.floors to be features with accuracies, or an audit.json that "
            f"`python -m leukemia.audit` wrote, but '{path}' is none."
        ) from error


def difference(stored: DictConfig, cfg: DictConfig) -> str | None:
    """Say how a run's settings differ from those of a new command.

    Args:
        stored: of the run.
        cfg: of the command, settled.

    Returns:
        The first setting that differs with both values; ``None`` where all are the same.
    """
    there, here = _flat(_plain(stored)), _flat(_plain(cfg))
    for key in dict.fromkeys([*there, *here]):
        if there.get(key) == here.get(key) or key.startswith("study."):
            continue
        if key not in _NO_MATTER:
            return f"{key} is {there.get(key, 'absent')} there and {here.get(key, 'absent')} here"
    return None


def _plain(cfg: DictConfig) -> object:
    # Through YAML, as the stored one went.
    return OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(cfg, resolve=True)))


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    flat: dict[str, object] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}.{key}".lstrip("."))
    return flat
