"""The error that a user can mend, the checks that raise it, and how a search ends a trial."""

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real

from leukemia.text import visible


class UserError(Exception):
    """A user's mistake: one line that names the thing, its value and the remedy.

    Every command prints the line without a traceback and exits with status 2. Names in it may be
    anything: the line is stored as `visible` shows it, so that it is one line whatever they hold.
    """

    def __init__(self, line: str) -> None:
        """Store the line."""
        super().__init__(visible(line))


class Pruned(Exception):
    """A trial of a search ends here: others were better at this epoch. No error."""


def check_number(key: str, value: object, wanted: str, valid: Callable[[float], bool]) -> None:
    """Refuse a setting that is no finite number, or none of those wanted.

    Args:
        key: the setting's name in the config.
        value: what was given.
        wanted: what the numbers have in common, in words.
        valid: the same as a test.

    Raises:
        UserError: the value is no such number.
    """
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not (number and valid(value)):  # type: ignore[arg-type]
        raise UserError(f"Expected {key} to be {wanted}, but got {value!r}.")


def check_count(key: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Refuse a setting that is no whole number from ``least`` on, or is above ``most``.

    Raises:
        UserError: the value is no such number.
    """
    end = "on" if most is None else f"to {most}"
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and least <= value and (most is None or value <= most)):  # type: ignore[operator]
        raise UserError(
            f"Expected {key} to be a whole number from {least} {end}, but got {value!r}."
        )


def check_switch(key: str, value: object) -> None:
    """Refuse a setting that is neither true nor false.

    Raises:
        UserError: the value is neither.
    """
    if not isinstance(value, bool):
        raise UserError(f"Expected {key} to be true or false, but got {value!r}.")


def frozen(value: object) -> object:
    """Return a list, and lists in it, as tuples: settings come as lists, and may then be hashed."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def check_choice(key: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a setting that is not one of the names it can have.

    Raises:
        UserError: the value is none of them.
    """
    names = list(choices)
    if value not in names:
        raise UserError(
            f"Expected {key} to be one of {', '.join(map(str, names))}, but got {value!r}."
        )
