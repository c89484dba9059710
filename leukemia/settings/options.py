"""The files of ``conf``: which groups there are, and what their options hold."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from leukemia.settings.kinds import ALSO, Kind

# Beside the package in a checkout, inside it in a wheel.
_HERE = Path(__file__).resolve().parent.parent
CONF = next(path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir())
VERBS = ("train", "evaluate", "predict", "explain", "export", "serve", "study", "audit")


class _File(NamedTuple):
    package: str | None
    defaults: list[object]
    content: dict[str, Any]


@cache
def _file(name: str) -> _File:
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    header = re.search(r"^# @package (\S+)", text, re.M)
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    defaults = content.pop("defaults", [])
    content.pop("hydra", None)
    return _File(header[1] if header else None, defaults, content)


@cache
def options_of(group: str) -> list[str]:
    """Return the options of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def chosen_by(verb: str) -> list[str]:
    """Return the groups that a verb chooses from."""
    entries = [entry for entry in _file(verb).defaults if isinstance(entry, dict)]
    return [key for entry in entries for key in entry if not key.startswith("override ")]


def groups() -> dict[str, list[str]]:
    """Return the options of every group."""
    return {folder.name: options_of(folder.name) for folder in CONF.iterdir() if folder.is_dir()}


def contents(verb: str, chosen: dict[str, Any] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a verb's settings are made of, each with its place.

    Args:
        verb: its name.
        chosen: the options of its groups; ``None`` for all of them.
    """
    for key in chosen_by(verb):
        group, _, package = key.partition("@")
        options = options_of(group) if chosen is None else _listed(chosen.get(key))
        if not set(options) <= set(options_of(group)):  # of a folder of the user's own
            options = options_of(group)
        for name in options:
            yield from closure(group, name, package or None)
    yield "", _file(verb).content


def _listed(option: object) -> list[str]:
    if isinstance(option, tuple | list):
        return list(option)
    return [] if option is None else [str(option)]


def closure(group: str, option: str, package: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what an option holds and what it takes from others, each with its place."""
    file = _file(f"{group}/{option}")
    for entry in file.defaults:
        if isinstance(entry, str) and entry != "_self_":
            name, _, place = entry.partition("@")
            yield from closure(group, name, place or package)
    own = package or file.package or group
    yield "" if own == "_global_" else own, file.content


def walk(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield every setting below one, with its value; entries of a list by its name and ``[]``."""
    if path:
        yield path, value
    if isinstance(value, dict) and Kind.FREE not in ALSO.get(path, ()):
        for key, inner in value.items():
            yield from walk(f"{path}.{key}".lstrip("."), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(f"{path}[]", inner)
