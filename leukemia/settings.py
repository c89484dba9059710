"""Settings of a run: fixed when it starts, compared when it goes on."""

import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from leukemia import schema
from leukemia.errors import UserError
from leukemia.kinds import Kind
from leukemia.machine import NO_MATTER

# They change neither data nor training: the rule of a study, trials at a time, the machine.
_NO_MATTER = ("study", "n", *NO_MATTER)


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
