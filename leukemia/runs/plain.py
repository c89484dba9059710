"""Files that may come from a stranger, read as data: of bounded size, plain values, no links."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from leukemia.classes import CANCER_FIGURES
from leukemia.disk import write_text
from leukemia.errors import UserError

SETTINGS: Final = 100_000
"""Bytes of a run's settings at most: they take 5,000, and 100,000 are read for three seconds."""

LARGE: Final = 100_000_000
"""Bytes of other texts."""

_DEEP: Final = 30
_FOREIGN: Final = ("wandb",)  # W&B links its logs into the user's cache
_FIGURES: Final = ("n", "accuracy", "macro_f1", "nll", "brier", "ece")
REMEDY: Final = "Bring it back from a copy, or train the run anew."


def walk(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder, links unfollowed; not what W&B keeps in its own."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = folder / entry.name
        yield path
        if entry.is_dir(follow_symlinks=False) and entry.name not in _FOREIGN:
            yield from walk(path)


def check_inside(folder: Path) -> None:
    """Refuse a folder in which a link leads out of it, or lies what is neither file nor folder.

    Who writes into such a folder would write elsewhere. The folder itself may be a link.

    Raises:
        UserError: there is one; it is named.
    """
    root = folder.resolve()
    for path in walk(folder):
        if path.is_symlink():
            try:
                inside = path.resolve().is_relative_to(root)
            except (OSError, RuntimeError):  # a link to itself
                inside = False
            if not inside:
                raise UserError(
                    f"'{path}' is a link that leads out of '{folder}': put the file itself in its "
                    f"place, or remove the link."
                )
        # In this order: what another process wrote half may be gone by now.
        elif not (path.is_file() or path.is_dir()) and path.exists():
            raise UserError(f"'{path}' is neither a file nor a folder: remove it.")


def read_text(path: Path, most: int = LARGE) -> str:
    """Read a file of UTF-8 that has so many bytes at most.

    Raises:
        UserError: it cannot be read, or has more.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}. {REMEDY}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is no text in UTF-8. {REMEDY}") from error
    if len(data) > most:
        raise UserError(f"'{path}' has more than {most:,} bytes. {REMEDY}")
    return text


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON whose numbers are finite.

    Raises:
        UserError: the file cannot be read, or is none.
    """
    text = read_text(path)
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is no JSON: {error}. {REMEDY}") from error
    if not isinstance(found, dict):
        raise UserError(f"'{path}' holds no object, but a {type(found).__name__}. {REMEDY}")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")


def read_figures(path: Path, part: str) -> dict[str, Any]:
    """Return the figures of a part from a metrics.json, as `summarize` returned them.

    Raises:
        UserError: they are not there, or none.
    """
    found = read_json(path).get(part)
    # All of cancer, or none of them where no class is benign.
    of_cancer = [name for name in CANCER_FIGURES if isinstance(found, dict) and name in found]
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("interval"), dict)
        or not all(is_figure(found.get(name, "")) for name in (*_FIGURES, *of_cancer))
        or len(of_cancer) not in (0, len(CANCER_FIGURES))
    ):
        raise UserError(
            f"'{path}' holds no figures of the part '{part}': bring it back from a copy, or train "
            f"the run anew."
        )
    return found


def is_figure(value: object) -> bool:
    """Whether a value of JSON is a number, or null."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def read_settings(path: Path) -> DictConfig:
    """Read settings as plain YAML: nothing is resolved, from the environment or elsewhere.

    Args:
        path: of a file of at most `SETTINGS` bytes.

    Raises:
        UserError: it cannot be read, is no mapping, or has aliases, interpolations or values that
            are missing.
    """
    text = read_text(path, SETTINGS)
    try:
        _check_yaml(text)
        cfg = OmegaConf.load(io.StringIO(text))
        if not isinstance(cfg, DictConfig):
            raise ValueError("it is no mapping")
        _check_plain(OmegaConf.to_container(cfg, resolve=False))
    except (ValueError, TypeError, yaml.YAMLError, OmegaConfBaseException, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"'{path}' is no config of a run: {reason}. {REMEDY}") from error
    return cfg


def _check_yaml(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError("it has anchors or aliases")  # a few lines of them can fill memory
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEP:
            raise ValueError(f"it is nested more than {_DEEP} deep")


def _check_plain(node: object, key: str = "") -> None:
    if isinstance(node, dict):
        for name, value in node.items():
            _check_plain(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            _check_plain(value, key)
    elif isinstance(node, str) and ("${" in node or node == "???"):
        raise ValueError(f"{key} is '{node}', and a run's settings are plain values")


NOTES = "settings.sha256"  # beside config.yaml: one line for each that the run has had


def note_own(config: Path, text: str) -> None:
    """Note a run's settings before they are written, so that a kill leaves none that are unknown.

    Args:
        config: the run's config.yaml.
        text: what it is to hold.
    """
    notes = config.with_name(NOTES)
    before = notes.read_text(encoding="utf-8") if notes.is_file() else ""
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest not in before.split():
        write_text(notes, f"{before}{digest}\n")


def write_own(config: Path, text: str) -> None:
    """Replace a run's settings by others of its own."""
    note_own(config, text)
    write_text(config, text)


def check_own(config: Path) -> None:
    """Refuse settings that an unfinished run did not write; of a finished one `DONE` knows them.

    Args:
        config: the run's config.yaml; without notes beside it nothing is known.

    Raises:
        UserError: they have changed since the run began.
    """
    notes = config.with_name(NOTES)
    if not notes.is_file():
        return
    digest = hashlib.sha256(config.read_bytes()).hexdigest()
    if digest not in notes.read_text(encoding="utf-8", errors="replace").split():
        raise UserError(
            f"'{config}' has changed since the run began, whose figures would be of two settings: "
            f"bring it back from a copy, or start a new run."
        )
