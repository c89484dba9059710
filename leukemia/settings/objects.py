"""What settings name by ``_target_`` becomes an object; a stranger's settings name only so much."""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from leukemia.errors import UserError
from leukemia.settings.schema import TARGET, schema

Made = TypeVar("Made")

PACKAGES = ("leukemia", "torch", "torchvision", "lightning", "torchmetrics", "albumentations")
"""Whose classes the settings of a run may name without ``trust=true``."""

OWN = ("leukemia.data.", "leukemia.models.", "leukemia.tracking.")
BASES = {
    *("torch.nn.modules.module.Module", "torch.optim.optimizer.Optimizer"),
    *("torch.optim.lr_scheduler.LRScheduler", "torchmetrics.metric.Metric"),
    "lightning.pytorch.trainer.trainer.Trainer",
    "lightning.pytorch.core.datamodule.LightningDataModule",
    "lightning.pytorch.callbacks.callback.Callback",
    *("lightning.pytorch.loggers.logger.Logger", "lightning.fabric.loggers.logger.Logger"),
    "lightning.pytorch.profilers.profiler.Profiler",
    "lightning.pytorch.strategies.strategy.Strategy",
    "albumentations.core.transforms_interface.BasicTransform",
    "albumentations.core.composition.BaseCompose",
}
"""What a class of another package must be one of: what models, trainings and data are made of."""

_HERE = Path(__file__).resolve().parent.parent


def make(
    node: DictConfig | Mapping[str, Any],
    path: str,
    kind: type[Made],
    *,
    own: Collection[str] = (),
    **offered: Any,
) -> Made:
    """Return the object that a node names by ``_target_``.

    Args:
        node: ``_target_``, and its arguments by name.
        path: of the node, for errors.
        kind: what the object must be.
        own: keys of the node that are read elsewhere; handed over only where they are arguments,
            and the code has nothing to give in their place.
        **offered: what the code has to give: each is handed over where the target has an argument
            of that name, and the node does not set it.

    Raises:
        UserError: no such target, an argument that it does not have or that is missing, or an
            object of another kind.
    """
    kept = {key: value for key, value in node.items() if key not in own or key not in offered}
    made = call(prepare(OmegaConf.create(kept), path, own=own), path, **offered)
    if not isinstance(made, kind):
        raise UserError(
            f"Expected {path}.{TARGET} to make a {kind.__name__}, but {_name(node)} makes a "
            f"{type(made).__name__}."
        )
    return made


def prepare(
    node: DictConfig | Mapping[str, Any], path: str, *, own: Collection[str] = ()
) -> Callable[..., Any]:
    """Return the target of a node with the node's arguments, to be called with others.

    Args:
        node: see `make`.
        path: see `make`.
        own: see `make`.

    Raises:
        UserError: no such target, or an argument that it does not have.
    """
    target = target_of(node, path)
    names, any_name = _arguments(target)
    given = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node)
    assert isinstance(given, dict)
    values = {str(key): value for key, value in given.items() if key not in own or key in names}
    unknown = [key for key in values if key not in names and not key.startswith("_")]
    if unknown and not any_name:
        key = unknown[0]
        close = get_close_matches(key, names, n=3)
        raise UserError(
            f"There is no setting {path}.{key}: {_name(node)} takes {', '.join(names) or 'none'}."
            + (f" Did you mean {', '.join(f'{path}.{name}' for name in close)}?" if close else "")
        )
    try:
        ready = hydra.utils.instantiate({**values, "_partial_": True, "_convert_": "all"})
    except HydraException as error:
        raise _cause(error, path) from error
    return cast(Callable[..., Any], ready)


def call(ready: Callable[..., Any], path: str, **offered: Any) -> Any:  # noqa: ANN401
    """Return what `prepare` made ready makes of what the code has to give.

    Args:
        ready: a target with arguments.
        path: of its node, for errors.
        **offered: see `make`.

    Raises:
        UserError: an argument is missing, or the target refuses one.
    """
    target = ready.func if isinstance(ready, functools.partial) else ready
    held = ready.keywords if isinstance(ready, functools.partial) else {}
    names, _ = _arguments(target)
    more = {key: value for key, value in offered.items() if key in names and key not in held}
    name = f"{target.__module__}.{target.__qualname__}"
    positional = len(ready.args) if isinstance(ready, functools.partial) else 0
    lacking = [n for n in _required(target)[positional:] if n not in held and n not in more]
    if lacking:
        raise UserError(f"{path} lacks {', '.join(lacking)}, which {name} needs.")
    try:
        return ready(**more)
    except (TypeError, ValueError, RuntimeError) as error:
        if name.startswith("leukemia."):
            raise
        raise UserError(f"{path} cannot be: {name} says: {' '.join(str(error).split())}") from error


def target_of(node: DictConfig | Mapping[str, Any], path: str) -> Callable[..., Any]:
    """Return the class or function that a node names.

    Raises:
        UserError: it names none, or one that cannot be imported.
    """
    name = node.get(TARGET) if hasattr(node, "get") else None
    if not isinstance(name, str) or not name:
        raise UserError(f"Expected {path}.{TARGET} to name a class, but got {name!r}.")
    try:
        found = hydra.utils.get_object(name)
    except Exception as error:  # an import may raise anything
        why = " ".join(str(error.__cause__ or error).split())
        raise UserError(
            f"{path}.{TARGET}={name} cannot be imported: {why}. Is the folder that holds it on "
            f"PYTHONPATH?"
        ) from error
    if not callable(found):
        raise UserError(f"Expected {path}.{TARGET} to name a class, but {name} is none.")
    return cast(Callable[..., Any], found)


def arguments_of(node: DictConfig | Mapping[str, Any], path: str) -> list[str]:
    """Return the names of the arguments of a node's target."""
    return _arguments(target_of(node, path))[0]


def check_trusted(cfg: DictConfig, whose: str) -> None:
    """Refuse settings of a stranger that name what is no class of `PACKAGES`.

    A class that an image model, its training or its data are made of, that is: not everything
    that can be reached through such a package.

    Args:
        cfg: the settings.
        whose: the run, for the error.

    Raises:
        UserError: they do.
    """
    for path, name in _targets(OmegaConf.to_container(cfg, resolve=False)):
        if not _is_trusted(name):
            raise UserError(
                f"'{whose}' names {path}={name}, which is no class of {', '.join(PACKAGES)}: "
                f"opening the run would execute it. Give trust=true where you know what it does."
            )


def _is_trusted(name: object) -> bool:
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        return False
    if name in of_conf():
        return True
    if name.startswith(OWN):
        return _is_own(name)
    if name.partition(".")[0] not in PACKAGES:
        return False
    try:
        found = hydra.utils.get_object(name)
    except Exception:  # an import may raise anything
        return False
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in getattr(found, "__mro__", ())}
    return str(getattr(found, "__module__", "")).partition(".")[0] in PACKAGES and bool(
        kinds & BASES
    )


@functools.cache
def of_conf() -> frozenset[str]:
    """Return what the files of ``conf`` name, which is trusted without an import."""
    return frozenset(str(name) for found in schema("train").targets.values() for name in found)


def _is_own(name: str) -> bool:
    """Whether a class is written where its name says; nothing is imported."""
    module, _, last = name.rpartition(".")
    source = _HERE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return source.is_file() and bool(
        re.search(rf"^class {last}\b", source.read_text(encoding="utf-8"), re.M)
    )


def _targets(node: object, path: str = "") -> list[tuple[str, object]]:
    if isinstance(node, dict):
        found = []
        for key, value in node.items():
            inner = f"{path}.{key}".lstrip(".")
            found += [(inner, value)] if key == TARGET and value is not None else []
            found += _targets(value, inner)
        return found
    if isinstance(node, list):
        return [pair for i, value in enumerate(node) for pair in _targets(value, f"{path}[{i}]")]
    return []


def _arguments(target: Callable[..., Any]) -> tuple[list[str], bool]:
    """Return the names of a target's arguments, and whether it takes others too."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # one written in C
        return [], True
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return names, any(p.kind == p.VAR_KEYWORD for p in parameters)


def _required(target: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    hidden = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in hidden]


def _cause(error: HydraException, path: str) -> UserError:
    cause = error.__cause__
    if isinstance(cause, UserError):
        return cause
    return UserError(f"{path} cannot be: {' '.join(str(cause or error).split())}")


def _name(node: DictConfig | Mapping[str, Any]) -> str:
    return str(node.get(TARGET))
