"""Names from disk, fit to be shown: on a terminal, and in a spreadsheet."""

from typing import Final

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes a cell for a formula by (OWASP, CSV injection)."""


def visible(text: str) -> str:
    r"""Return a text on one line in which no character acts: what cannot be printed is spelt out.

    A file may be called anything. Escape codes would colour or clear a terminal, line breaks would
    forge lines, and marks of direction would show a name backwards; they become ``\x1b``,
    ``\n`` and ``\u202e``. Letters of any script stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def as_cell(name: str) -> str:
    """Return a path or the name of a class as a cell of a table that no spreadsheet computes.

    A name such as ``=cmd(...)`` becomes ``./=cmd(...)``, which is the same file; `from_cell` takes
    the mark off again. All others stay as they are.
    """
    return f"./{name}" if name.startswith(FORMULA) else name


def from_cell(cell: str) -> str:
    """Return the name that `as_cell` was given, where it is a relative path or a class."""
    return cell.removeprefix("./")


def as_words(text: str) -> str:
    """Return words as a cell that no spreadsheet computes, with an apostrophe before a formula.

    Numbers stay numbers, also negative ones.
    """
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
