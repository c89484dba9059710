"""`history.csv`: one row an epoch.

The columns are the trainer's. The learning curves look for `stage`, `train_loss`, `val_loss` and
`val_accuracy`, and leave out what is missing.
"""

import csv
import io
from numbers import Integral
from pathlib import Path

from leukemia.atomic import write_text
from leukemia.errors import UserError

Cell = float | int | str | None


def write_history(path: Path, rows: list[dict[str, Cell]]) -> None:
    """Write the rows, atomically.

    Args:
        path: the CSV file to replace.
        rows: one an epoch; the columns are the union of their keys, by first appearance.
            None and absent values leave an empty cell, numbers are written in full precision.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    write_text(path, buffer.getvalue())


def read_history(path: Path) -> list[dict[str, Cell]]:
    """Read what `write_history` wrote.

    Args:
        path: the CSV file.

    Returns:
        One dict a row, all with the same keys; empty cells are None, and text that reads as a
        number is one.

    Raises:
        UserError: the file cannot be read, or a row has no stage or epoch, or another word.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Expected a history at {path}, but cannot read it: {error}") from error
    return [_cells(row, path) for row in rows]


def _cells(row: dict[str, str], path: Path) -> dict[str, Cell]:
    """Return a row by column: its stage, its epoch, and numbers."""
    cells = {name: _value(text) for name, text in row.items() if name is not None}
    words = [name for name, value in cells.items() if isinstance(value, str)]
    if None in row or words != ["stage"] or not isinstance(cells.get("epoch"), int):
        raise UserError(
            f"Expected every row of the history at {path} to have a stage, an epoch and numbers, "
            f"but got {list(row.values())}: bring it back from a copy, or train the run anew."
        )
    return cells


def _text(value: Cell) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    # Through int and float, because numpy 2 writes its scalars as "np.float64(0.5)".
    return repr(int(value)) if isinstance(value, Integral) else repr(float(value))


def _value(text: str | None) -> Cell:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
