"""Which settings there are, and what each may be: read from the files of ``conf`` themselves.

What a file gives a setting tells its kind: a switch stays a switch, settings of their own stay
that. What no file tells, such as what stands there as null, is said below. No torch here.
"""

import difflib
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from leukemia.errors import UserError

# Beside the package in a checkout, inside it in a wheel.
_HERE = Path(__file__).resolve().parent
CONF = next(path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir())
VERBS = ("train", "evaluate", "predict", "explain", "study", "audit")


class Kind(StrEnum):
    """What a setting may be, in words."""

    NODE = "settings of its own"
    SWITCH = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a finite number"
    TEXT = "text"
    PATH = "a path"
    LIST = "a list"
    FREE = "names with values"
    NULL = "null"


_ALSO: dict[str, tuple[Kind, ...]] = {
    "resume": (Kind.PATH,),
    "open_test": (Kind.SWITCH,),
    "report.map": (Kind.TEXT, Kind.NULL),
    "data.root": (Kind.PATH,),
    "data.file": (Kind.PATH,),
    "data.groups": (Kind.PATH,),
    "data.cache_dir": (Kind.PATH,),
    "data.workers": (Kind.WHOLE,),
    "data.floors": (Kind.FREE, Kind.PATH),
    "split.file": (Kind.PATH,),
    "stain.glass[]": (Kind.NUMBER,),
    "loss.class_weights": (Kind.LIST,),
    "loss.class_weights[]": (Kind.NUMBER,),
    "model.backbone.weights": (Kind.PATH,),
    "model.backbone.layers": (Kind.LIST, Kind.NULL),
    "model.backbone.layers[]": (Kind.TEXT,),
    "model.backbone.attend": (Kind.TEXT, Kind.NULL),
    "model.backbone.resize": (Kind.WHOLE, Kind.NULL),
    "stage.head.ema_decay": (Kind.NUMBER, Kind.NULL),
    "stage.head.patience": (Kind.WHOLE, Kind.NULL),
    "stage.finetune.ema_decay": (Kind.NUMBER, Kind.NULL),
    "stage.finetune.patience": (Kind.WHOLE, Kind.NULL),
    "trainer.max_epochs": (Kind.WHOLE,),
    "trainer.precision": (Kind.TEXT,),
    "trainer.accelerator": (Kind.TEXT,),
    "trainer.devices": (Kind.LIST, Kind.TEXT),
    "trainer.devices[]": (Kind.WHOLE,),
    "trainer.threads": (Kind.WHOLE,),
    "trainer.eval_batch_size": (Kind.WHOLE,),
    "trainer.save_every": (Kind.NUMBER,),
    "logger.project": (Kind.TEXT,),
    "logger.group": (Kind.TEXT,),
    "logger.tags[]": (Kind.TEXT,),
    "logger.timeout": (Kind.NUMBER,),
    "study.exclude[]": (Kind.FREE,),
    "study.pruner": (Kind.NULL,),
    "suite.perturbations": (Kind.LIST,),
    "suite.perturbations[]": (Kind.TEXT,),
    "suite.limit": (Kind.WHOLE,),
    "run": (Kind.PATH,),
    "runs": (Kind.LIST,),
    "runs[]": (Kind.PATH,),
    "part": (Kind.TEXT,),
    "input": (Kind.PATH, Kind.LIST),
    "input[]": (Kind.PATH,),
    "output": (Kind.PATH,),
    "format": (Kind.TEXT,),
    "dir": (Kind.PATH,),
    "dashboard": (Kind.TEXT,),
    **{f"protocols.{name}": (Kind.NULL,) for name in ("paper", "stratified", "grouped", "kfold")},
}
# Texts that choose, where nothing else looks at them before images are read.
_CHOICES = {
    "data.on_bad": ("error", "skip"),
    "split.validation": ("random", "block"),
    "split.test": ("pooled", "paper"),
    "stage.head.monitor": ("nll", "accuracy"),
    "stage.finetune.monitor": ("nll", "accuracy"),
    "study.chart": ("bars", "heatmap", "curves", "search"),
}
# Settings of Hydra's that are paths; and those that must be named, where null is a name like any.
_HYDRA_PATHS = ("hydra.run.dir", "hydra.sweep.dir")
_NAMED = ("run", "input", "dir")
# What an audit has for the sake of `data=` alone.
_UNREAD = {"audit": ("split", "head", "model", "mask", "data.balance", "data.floors", "data.file")}
_LONGEST = 4096  # of a text: what Linux allows of a path


class Schema(NamedTuple):
    """The settings of a verb.

    Args:
        kinds: by setting; those of a list's entries stand under its name with ``[]``.
        choices: the names that a setting chooses among.
    """

    kinds: Mapping[str, Collection[Kind]]
    choices: Mapping[str, Collection[str]]

    def names(self) -> list[str]:
        """Every single setting."""
        return [
            name
            for name, kinds in self.kinds.items()
            if not name.endswith("[]") and set(kinds) - {Kind.NODE, Kind.NULL}
        ]


def check(cfg: DictConfig, verb: str, chosen: Mapping[str, Any] | None = None) -> None:
    """Refuse settings that nothing reads, and values of a kind that a setting cannot have.

    Args:
        cfg: the settings, composed.
        verb: whose they are.
        chosen: the options of all groups, where they are known: then a setting that only other
            options have is refused too, and one that is missing.

    Raises:
        UserError: there is one, named with its value and what is expected.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    except RecursionError as error:
        raise UserError("A setting refers to itself by ${...}: give it a value.") from error
    if not isinstance(plain, dict):
        raise UserError(f"Expected settings by name, but got {_shown(plain)}.")
    content = {key: value for key, value in plain.items() if key != "hydra"}
    wide = schema(verb)
    if chosen is not None:
        options = {str(group): name for group, name in chosen.items() if "hydra/" not in str(group)}
        logged = content.get("logger")
        if isinstance(logged, dict):
            options["logger"] = tuple(option for option in _options("logger") if option in logged)
        absent = set(chosen_by(verb)) - set(options)
        for group in absent:
            if "none" not in _options(group.partition("@")[0]):
                raise UserError(f"{group}= is missing: leukemia.{verb} needs one of its options.")
        narrow = schema(verb, tuple(sorted(options.items(), key=lambda item: item[0])))
        _check_names(content, narrow, wide, verb)
    _check_node("", content, wide, wide, verb)


def paths(verb: str) -> dict[str, Collection[Kind]]:
    """Return the settings of a verb that are paths, or lists of them, with what they may be."""
    kinds = schema(verb).kinds
    found = {
        name: of
        for name, of in kinds.items()
        if Kind.PATH in of or Kind.PATH in kinds.get(f"{name}[]", ())
    }
    named = {name: set(of) - {Kind.NULL} if name in _NAMED else of for name, of in found.items()}
    named = {name: of for name, of in named.items() if not name.endswith("[]")}
    return named | dict.fromkeys(_HYDRA_PATHS, (Kind.PATH,))


def unread(verb: str, overrides: Iterable[str]) -> None:
    """Refuse what a verb has for the sake of another setting alone.

    Args:
        verb: the verb.
        overrides: as typed.

    Raises:
        UserError: one is given.
    """
    for text in overrides:
        key = text.partition("=")[0].lstrip("+~")
        names = _UNREAD.get(verb, ())
        if key != "mask.scale_bar" and any(f"{key}.".startswith(f"{name}.") for name in names):
            raise UserError(
                f"leukemia.{verb} does not read {text}: its splits are protocols.<split>, and of "
                f"masks it takes mask.scale_bar alone."
            )


def nearest(key: str, names: Iterable[str]) -> list[str]:
    """Return settings that may be meant by a name that is none, at most three."""
    tail = key.split(".")[-1]
    known = [name for name in names if name != key]
    same = [name for name in known if name.split(".")[-1] == tail]
    if same:
        return same[:3]
    close = difflib.get_close_matches(key, known, n=3)
    tails = {name.split(".")[-1]: name for name in reversed(known)}
    return close or [tails[name] for name in difflib.get_close_matches(tail, tails, n=3)]


def groups() -> dict[str, list[str]]:
    """Return the options of every group."""
    return {folder.name: _options(folder.name) for folder in CONF.iterdir() if folder.is_dir()}


@cache
def chosen_by(verb: str) -> list[str]:
    """Return the groups that a verb chooses from."""
    entries = [entry for entry in _file(verb).defaults if isinstance(entry, dict)]
    return [key for entry in entries for key in entry if not key.startswith("override ")]


@cache
def schema(verb: str, chosen: tuple[tuple[str, Any], ...] | None = None) -> Schema:
    """Return the settings of a verb.

    Args:
        verb: its name.
        chosen: group and option; ``None`` for those of all options together.
    """
    values: dict[str, list[object]] = {}
    by_group: dict[str, set[str]] = {}
    for package, content in _contents(verb, None if chosen is None else dict(chosen)):
        above = accumulate(package.split(".")[:-1], "{}.{}".format)
        for path, value in [*((path, {}) for path in above), *_walk(package, content)]:
            values.setdefault(path, []).append(value)
    for group in groups():
        for option in _options(group):
            for package, content in _closure(group, option, None):
                for path, value in _walk(package, content):
                    if path in (f"{group}.name", f"model.{group}.name"):
                        by_group.setdefault(path, set()).add(str(value))
    for free in ("study.name", "model.name"):
        by_group.pop(free, None)
    kinds: dict[str, set[Kind]] = {}
    choices: dict[str, Collection[str]] = {}
    same: dict[str, str] = {}
    for path, found in values.items():
        like = re.sub(r"^protocols\.\w+\.", "split.", path)
        kinds[path] = {kind for value in found for kind in _kinds_of(value)} | {*_also(path, like)}
        if Kind.NUMBER in kinds[path]:
            kinds[path].discard(Kind.WHOLE)
        if Kind.FREE in kinds[path]:
            kinds[path].discard(Kind.NODE)
        if names := _CHOICES.get(like) or sorted(by_group.get(like, ())):
            choices[path] = names
        refers = [re.fullmatch(r"\$\{(\w[\w.]*)\}", str(value)) for value in found]
        same |= {path: match[1] for match in refers if match}
    for path in list(kinds):
        if Kind.LIST in kinds[path] and f"{path}[]" not in kinds:
            kinds[f"{path}[]"] = {*_also(f"{path}[]")}
    for path, other in same.items():
        kinds[path] |= kinds.get(other, set())
        if other in choices:
            choices[path] = choices[other]
    return Schema(kinds, choices)


def _also(*paths: str) -> Iterator[Kind]:
    for path in dict.fromkeys(paths):
        yield from _ALSO.get(path, ())


def _kinds_of(value: object) -> tuple[Kind, ...]:
    if isinstance(value, str) and "${" in value:
        # Of a variable of the system, with what is taken in its absence.
        return (Kind.NULL,) if re.fullmatch(r"\$\{oc\.env:\w+,null\}", value) else ()
    for kind, python in (
        (Kind.NULL, type(None)),
        (Kind.SWITCH, bool),
        (Kind.WHOLE, int),
        (Kind.NUMBER, float),
        (Kind.TEXT, str),
        (Kind.LIST, list),
        (Kind.NODE, dict),
    ):
        if isinstance(value, python):
            return (kind,)
    raise TypeError(f"conf holds {value!r}")


def _walk(path: str, value: object) -> Iterator[tuple[str, object]]:
    if path:
        yield path, value
    if isinstance(value, dict) and Kind.FREE not in _ALSO.get(path, ()):
        for key, inner in value.items():
            yield from _walk(f"{path}.{key}".lstrip("."), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(f"{path}[]", inner)


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
def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _contents(verb: str, chosen: dict[str, Any] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in chosen_by(verb):
        group, _, package = key.partition("@")
        options = _options(group) if chosen is None else _listed(chosen.get(key))
        if not set(options) <= set(_options(group)):  # of a folder of the user's own
            options = _options(group)
        for name in options:
            yield from _closure(group, name, package or None)
    yield "", _file(verb).content


def _listed(option: object) -> list[str]:
    if isinstance(option, tuple | list):
        return list(option)
    return [] if option is None else [str(option)]


def _closure(group: str, option: str, package: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what an option holds and what it takes from others, each with its place."""
    file = _file(f"{group}/{option}")
    for entry in file.defaults:
        if isinstance(entry, str) and entry != "_self_":
            name, _, place = entry.partition("@")
            yield from _closure(group, name, place or package)
    own = package or file.package or group
    yield "" if own == "_global_" else own, file.content


def _check_names(content: object, narrow: Schema, wide: Schema, verb: str) -> None:
    """Refuse settings that other options alone have, and missing ones."""
    present = {path: value for path, value in _walk("", content) if not path.endswith("]")}
    for path, value in present.items():
        if path in narrow.kinds or path not in wide.kinds or "[]" in path:
            continue
        with_it = [
            f"{group}={option}"
            for group, options in groups().items()
            for option in options
            if any(
                path == found
                for package, held in _closure(group, option, None)
                for found, _ in _walk(package, held)
            )
        ]
        raise UserError(
            f"Nothing reads {path}={_shown(value)} here: it goes with "
            f"{' or '.join(with_it) or 'other settings'} alone."
        )
    for path in narrow.kinds:
        parent = path.rpartition(".")[0]
        here = present.get(parent) if parent else content
        if "[]" not in path and path not in present and isinstance(here, dict):
            raise UserError(f"The setting {path} is missing: leukemia.{verb} reads it.")


def _check_node(path: str, node: dict[Any, Any], known: Schema, wide: Schema, verb: str) -> None:
    for key, value in node.items():
        name = f"{path}.{key}".lstrip(".")
        if name not in known.kinds:
            close = nearest(name, wide.names())
            raise UserError(
                f"There is no setting {_shown(name, quote=False)}, given as {_shown(value)}: "
                f"leukemia.{verb} would not read it."
                + (f" Did you mean {', '.join(close)}?" if close else "")
            )
        _check_value(name, name, value, known)
        if isinstance(value, dict) and Kind.NODE in known.kinds[name]:
            _check_node(name, value, known, wide, verb)


def _check_value(name: str, said: str, value: object, known: Schema) -> None:
    """Refuse a value of another kind; of a list, its entries likewise."""
    kinds = known.kinds[name]
    choices = known.choices.get(name)
    fits = any(_fits(value, kind) for kind in kinds)
    if not fits or (choices and value is not None and str(value) not in choices):
        raise UserError(f"Expected {said} to be {_wanted(name, known)}, but got {_shown(value)}.")
    if isinstance(value, list) and f"{name}[]" in known.kinds:
        for entry in value:
            _check_value(f"{name}[]", f"each of {name}", entry, known)
    if isinstance(value, dict) and Kind.FREE in kinds:
        for key, inner in value.items():
            if not isinstance(inner, str | int | float) or not _finite(inner):
                raise UserError(
                    f"Expected {said}.{key} to be one finite value, but got {_shown(inner)}."
                )


def _fits(value: object, kind: Kind) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is Kind.NULL:
        return value is None
    if kind is Kind.SWITCH:
        return isinstance(value, bool)
    if kind is Kind.WHOLE:
        return number and isinstance(value, int) and -(2**63) <= value < 2**63
    if kind is Kind.NUMBER:
        return number and _finite(value)
    if kind in (Kind.TEXT, Kind.PATH):  # a folder may be called 1
        return (number and _finite(value)) or (isinstance(value, str) and _written(value))
    if kind is Kind.LIST:
        return isinstance(value, list)
    return isinstance(value, dict)


def _finite(value: object) -> bool:
    try:
        return isinstance(value, str) or math.isfinite(float(value))  # type: ignore[arg-type]
    except OverflowError:
        return False


def _written(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return 0 < len(text) <= _LONGEST and text.isprintable() and bool(text.strip())


def _wanted(name: str, known: Schema) -> str:
    kinds = known.kinds[name]
    if choices := known.choices.get(name):
        words = [f"one of {', '.join(choices)}"]
    else:
        words = [str(kind) for kind in Kind if kind in kinds and kind is not Kind.NULL]
        if Kind.NODE in kinds:
            inner = [key for key in known.names() if key.rpartition(".")[0] == name]
            words[0] += f" ({', '.join(key.rpartition('.')[2] for key in inner[:8])})"
    return " or ".join([*words, *(["null"] if Kind.NULL in kinds else [])])


def _shown(value: object, *, quote: bool = True) -> str:
    # Ten digits and more than a line of a value help nobody; a whole number may have thousands.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a number of very many digits"
    text = repr(value) if quote else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
