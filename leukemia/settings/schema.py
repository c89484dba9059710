"""Which settings there are, and what each may be: read from the files of ``conf`` themselves.

What a file gives a setting tells its kind: a switch stays a switch, settings of their own stay
that. What no file tells, such as what stands there as null, `leukemia.settings.kinds` says. No
torch here.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from leukemia.errors import UserError
from leukemia.settings.kinds import (
    ALSO,
    CHOICES,
    SETTLED,
    Kind,
    finite,
    fits,
    kinds_of,
    shown,
)
from leukemia.settings.options import chosen_by, closure, contents, groups, options_of, walk

# Settings of Hydra's that are paths; and those that must be named, where null is a name like any.
_HYDRA_PATHS = ("hydra.run.dir", "hydra.sweep.dir")
_NAMED = ("run", "input", "dir")
# What an audit has for the sake of `data=` alone.
_UNREAD = {"audit": ("split", "head", "model", "mask", "data.balance", "data.floors", "data.file")}


class Schema(NamedTuple):
    """The settings of a verb.

    Args:
        kinds: by setting; those of a list's entries stand under its name with ``[]``.
        choices: the names that a setting chooses among.
        targets: what the files of ``conf`` give each ``_target_``.
    """

    kinds: Mapping[str, Collection[Kind]]
    choices: Mapping[str, Collection[str]]
    targets: Mapping[str, Collection[object]]

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
        raise UserError(f"Expected settings by name, but got {shown(plain)}.")
    content = {key: value for key, value in plain.items() if key != "hydra"}
    for path, value in walk("", content):
        named = path.rpartition(".")[2] == TARGET and value is not None
        if named and not fits(value, Kind.TEXT):
            raise UserError(f"Expected {path} to be the name of a class, but got {shown(value)}.")
    wide = schema(verb)
    if chosen is not None:
        options = {str(group): name for group, name in chosen.items() if "hydra/" not in str(group)}
        for group in _NAMED_NODES:
            inside = content.get(group)
            if isinstance(inside, dict):
                found = tuple(one for one in options_of(group) if one in inside)
                options[group] = ("none", *found)
        absent = set(chosen_by(verb)) - set(options)
        for group in absent:
            if "none" not in options_of(group.partition("@")[0]):
                raise UserError(f"{group}= is missing: leukemia.{verb} needs one of its options.")
        narrow = schema(verb, tuple(sorted(options.items(), key=lambda item: item[0])))
        _check_names(content, narrow, wide, verb, _optional(options))
    _check_node("", content, wide, verb, _of_others(content, wide))


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


@cache
def schema(verb: str, chosen: tuple[tuple[str, Any], ...] | None = None) -> Schema:
    """Return the settings of a verb.

    Args:
        verb: its name.
        chosen: group and option; ``None`` for those of all options together.
    """
    values: dict[str, list[object]] = {}
    by_group: dict[str, set[str]] = {}
    for package, content in contents(verb, None if chosen is None else dict(chosen)):
        above = accumulate(package.split(".")[:-1], "{}.{}".format)
        for path, value in [*((path, {}) for path in above), *walk(package, content)]:
            values.setdefault(path, []).append(value)
    for group in groups():
        for option in options_of(group):
            for package, content in closure(group, option, None):
                for path, value in walk(package, content):
                    if path in (f"{group}.name", f"model.{group}.name"):
                        by_group.setdefault(path, set()).add(str(value))
    for free in ("study.name", "model.name"):
        by_group.pop(free, None)
    kinds: dict[str, set[Kind]] = {}
    choices: dict[str, Collection[str]] = {}
    same: dict[str, str] = {}
    for path, found in values.items():
        like = re.sub(r"^protocols\.\w+\.", "split.", path)
        kinds[path] = {kind for value in found for kind in kinds_of(value)} | {*_also(path, like)}
        if Kind.NUMBER in kinds[path]:
            kinds[path].discard(Kind.WHOLE)
        if Kind.FREE in kinds[path]:
            kinds[path].discard(Kind.NODE)
        if names := CHOICES.get(like) or sorted(by_group.get(like, ())):
            choices[path] = names
        for value in found:
            if match := re.fullmatch(r"\$\{(\w[\w.]*)\}", str(value)):
                same[path] = match[1]
    for path in list(kinds):
        if Kind.LIST in kinds[path] and f"{path}[]" not in kinds:
            kinds[f"{path}[]"] = {*_also(f"{path}[]")}
    for path, other in same.items():
        kinds[path] |= kinds.get(other, set())
        if other in choices:
            choices[path] = choices[other]
    targets = {path: found for path, found in values.items() if path.rpartition(".")[2] == TARGET}
    return Schema(kinds, choices, targets)


def _also(*paths: str) -> Iterator[Kind]:
    for path in dict.fromkeys(paths):
        yield from ALSO.get(path, ())


TARGET = "_target_"
_NAMED_NODES = ("callbacks", "logger")


def _of_others(content: object, known: Schema) -> set[str]:
    """Return the nodes whose ``_target_`` is in no file of ``conf``: what they hold is its own."""
    return {
        path.rpartition(".")[0]
        for path, value in walk("", content)
        if path.rpartition(".")[2] == TARGET and value not in known.targets.get(path, (None,))
    }


def _below(path: str, nodes: Collection[str]) -> bool:
    return any(path.startswith(f"{node}.") for node in nodes)


def _optional(chosen: Mapping[str, Any]) -> set[str]:
    """Return the settings of groups of which an option of the user's own is chosen."""
    found: set[str] = set()
    for key, option in chosen.items():
        group = key.partition("@")[0]
        known, names = options_of(group), option if isinstance(option, tuple | list) else [option]
        if not set(map(str, names)) <= {*known, "None"}:
            for one in known:
                for package, held in closure(group, one, None):
                    found |= {path for path, _ in walk(package, held)}
    return found


def _check_names(
    content: object, narrow: Schema, wide: Schema, verb: str, optional: Collection[str]
) -> None:
    """Refuse settings that other options alone have, and missing ones but for the optional."""
    present = {path: value for path, value in walk("", content) if not path.endswith("]")}
    others = _of_others(content, wide)
    for path, value in present.items():
        if _below(path, others):
            continue
        if path in narrow.kinds or path not in wide.kinds or "[]" in path:
            continue
        with_it = [
            f"{group}={option}"
            for group, options in groups().items()
            for option in options
            if any(
                path == found
                for package, held in closure(group, option, None)
                for found, _ in walk(package, held)
            )
        ]
        raise UserError(
            f"Nothing reads {path}={shown(value)} here: it goes with "
            f"{' or '.join(with_it) or 'other settings'} alone."
        )
    for path in narrow.kinds:
        parent = path.rpartition(".")[0]
        here = present.get(parent) if parent else content
        if _below(path, others) or path in optional:
            continue
        if "[]" not in path and path not in present and isinstance(here, dict):
            raise UserError(f"The setting {path} is missing: leukemia.{verb} reads it.")


def _check_node(
    path: str, node: dict[Any, Any], known: Schema, verb: str, others: Collection[str]
) -> None:
    for key, value in node.items():
        name = f"{path}.{key}".lstrip(".")
        if name in SETTLED:
            raise UserError(f"A run settles {name} itself: {SETTLED[name]}.")
        if name not in known.kinds:
            if path in _NAMED_NODES and isinstance(value, dict) and TARGET in value:
                continue  # one more, under a name of the user's
            # Of another package's class, or the user's own: looked at where it is made.
            if not str(node.get(TARGET, "leukemia.")).startswith("leukemia.") or path in others:
                continue
            close = nearest(name, known.names())
            raise UserError(
                f"There is no setting {shown(name, quote=False)}, given as {shown(value)}: "
                f"leukemia.{verb} would not read it."
                + (f" Did you mean {', '.join(close)}?" if close else "")
            )
        if not _below(name, others):
            _check_value(name, name, value, known)
        if isinstance(value, dict) and Kind.NODE in known.kinds[name]:
            _check_node(name, value, known, verb, others)


def _check_value(name: str, said: str, value: object, known: Schema) -> None:
    """Refuse a value of another kind; of a list, its entries likewise."""
    kinds = known.kinds[name]
    choices = known.choices.get(name)
    fitting = any(fits(value, kind) for kind in kinds)
    if not fitting or (choices and value is not None and str(value) not in choices):
        raise UserError(f"Expected {said} to be {_wanted(name, known)}, but got {shown(value)}.")
    if isinstance(value, list) and f"{name}[]" in known.kinds:
        for entry in value:
            _check_value(f"{name}[]", f"each of {name}", entry, known)
    if isinstance(value, dict) and Kind.FREE in kinds:
        for key, inner in value.items():
            if not isinstance(inner, str | int | float) or not finite(inner):
                raise UserError(
                    f"Expected {said}.{key} to be one finite value, but got {shown(inner)}."
                )


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
