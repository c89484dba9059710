"""What is typed, as Hydra's grammar has it: paths, options of groups, flags."""

import functools
import re
from pathlib import Path

from leukemia.errors import UserError
from leukemia.settings import schema
from leukemia.settings.kinds import Kind
from leukemia.settings.options import chosen_by, groups

# Of the flags `--name=value`, those that are Hydra's own.
_FLAGS = (
    *("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "shell"),
    *("config-path", "config-name", "config-dir", "experimental-rerun", "info"),
)
_LONGEST = 100  # of the name of an option
_PLAIN = re.compile(r"[\w.-]*[./][\w./-]*[A-Za-z_][\w.-]*", re.ASCII)
# What of Hydra's grammar makes several values of one.
_FUNCTIONS = re.compile(r"(choice|sort|shuffle|tag|range|glob|interval)\(.*\)")
# Taken as typed, whatever stands in it.
_VERBATIM = ("data.pattern",)
# What makes several jobs: a study does by itself.
SWEEPS = re.compile(r"-m|--multirun|hydra\.mode=MULTIRUN|[+-]*study=(?!null$|none$).+")


def quoted(argument: str, verb: str, *, sweep: bool = False) -> str:
    """Return a command line's argument as Hydra's grammar has it.

    A path may hold anything: blanks, brackets, commas, letters beyond ASCII are part of the name.
    A list in brackets stays one where the setting takes lists; its entries are quoted, unless
    quotes are among them already. With ``-m`` a comma separates paths, unless the whole names a
    file or folder that is there; a name in quotes is one name. ``group=null`` chooses the group's
    option ``none``, and ``--key=value`` is ``key=value``.

    Args:
        argument: as typed.
        verb: whose argument it is.
        sweep: whether ``-m`` was given.
    """
    flag = re.fullmatch(r"--([A-Za-z_][\w.@/-]*)=(.*)", argument, re.S)
    if flag and flag[1] not in _FLAGS:
        argument = argument[2:]
    key, equals, value = argument.partition("=")
    name = key.lstrip("+~")
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if key.startswith("-") or not equals:
        return argument
    group = name.partition("@")[0]
    if (options := groups().get(group)) is not None and name not in paths_of(verb):
        # Nothing is added where there is a choice already.
        key = name if key[0] == "+" and name in chosen_by(verb) else key
        if key[0] == "~":
            return f"{key}={_quote(value)}"
        if value in ("", "''", '""', "[]"):
            raise UserError(
                f"Expected {name} to be one of {', '.join(options)}, but got {value!r}."
            )
        return f"{key}={_options(value, options, sweep=sweep)}"
    if name in _VERBATIM and value and not is_quoted and value.lower() != "null":
        return f"{key}={_quote(value)}"
    kinds = paths_of(verb).get(name)
    if kinds is None or not value or is_quoted or key[0] == "~":
        return argument
    if Kind.FREE in kinds and value[0] == "{":
        key = f"++{name}"  # names of the user's own, which Hydra would not know
    return f"{key}={_path(value, kinds, sweep=sweep)}"


@functools.cache
def paths_of(verb: str) -> dict[str, frozenset[Kind]]:
    """Return the settings of a verb that are paths, with what they may be."""
    return {name: frozenset(kinds) for name, kinds in schema.paths(verb).items()}


def _options(value: str, options: list[str], *, sweep: bool) -> str:
    """Quote what Hydra would take for a number or nothing, not for an option's name."""
    if _FUNCTIONS.fullmatch(value) or (value[0] == "{" and value[-1] == "}"):
        return value  # several options, or settings of the chosen one
    if value[:1] == "[" and value[-1:] == "]":
        return f"[{','.join(_option(entry, options) for entry in _entries(value))}]"
    if sweep and "," in value:
        return ",".join(_option(entry.strip(), options) for entry in value.split(","))
    return _option(value, options)


def _option(value: str, options: list[str]) -> str:
    if value.lower() == "null" and "none" in options:
        return "none"
    if len(value) > _LONGEST or not value.isprintable():
        raise UserError(f"Expected one of {', '.join(options)}, but got {value[:_LONGEST]!r}.")
    return value if value in options or value[:1] in ("'", '"') else _quote(value)


def _path(value: str, kinds: frozenset[Kind], *, sweep: bool) -> str:
    there = _exists(value)
    if Kind.NULL in kinds and value.lower() == "null":
        return value
    if value[0] == "{" and value[-1] == "}" and Kind.FREE in kinds and not there:
        return value
    if value[0] == "[" and value[-1] == "]" and Kind.LIST in kinds and not there:
        if "'" in value or '"' in value:
            return value
        return f"[{','.join(map(_quote, _entries(value)))}]"
    if sweep and not there:
        if _FUNCTIONS.fullmatch(value) or value[0] in "'\"":
            return value
        if "," in value:
            parts = [part.strip() for part in value.split(",")]
            # Plain names stay plain: a study lists them as typed.
            return ",".join(
                part if _PLAIN.fullmatch(part) else _path(part, kinds, sweep=False)
                for part in parts
                if part
            )
    return _quote(value)


def _entries(value: str) -> list[str]:
    return [entry.strip() for entry in value[1:-1].split(",") if entry.strip()]


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _quote(text: str) -> str:
    # Only backslashes before a quote, which the last ones are too, mean something to Hydra.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), text)
    return f"'{escaped}'"
