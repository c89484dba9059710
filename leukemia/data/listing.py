"""Tables of the user that say something of each file."""

import csv
from pathlib import Path

from leukemia.data.files import name_some
from leukemia.data.manifest import Manifest
from leukemia.errors import UserError
from leukemia.text import from_cell


def read_column(
    path: Path, column: str, manifest: Manifest, *, setting: str, complete: bool = True
) -> list[str | None]:
    """Read one column of a CSV table with one row a file.

    Args:
        path: the table; it has the columns ``file`` (as in the manifest) and ``column``, and may
            have others; a name with ``./`` before it is the one behind that.
        column: what is wanted.
        manifest: the N images.
        setting: what an error calls the table.
        complete: whether every image must be listed.

    Returns:
        The cell of each image, N of them; ``None`` for those that are not listed.

    Raises:
        UserError: no such table, a column is missing, a cell is empty, or a file is listed twice,
            unknown, or missing though it must not be.
    """
    table = f"{setting} '{path}'"
    columns, lines = read_lines(path, table)
    if lacking := [name for name in ("file", column) if name not in columns]:
        raise UserError(
            f"Expected {table} to have the columns 'file' and '{column}', separated by commas, "
            f"but it lacks {' and '.join(map(repr, lacking))}."
        )
    cells: dict[str, str] = {}
    twice, empty = [], []
    for line in lines:
        name = from_cell(line["file"])
        if name in cells:
            twice.append(f"'{name}'")
        if not line[column]:
            empty.append(f"'{name}'")
        cells[name] = line[column]
    # A damaged file that is left out (data.on_bad=skip) may well be listed.
    known = {*manifest.files, *(bad.path for bad in manifest.skipped)}
    unknown = [f"'{name}'" for name in cells if name not in known]
    missing = [f"'{name}'" for name in manifest.files if name not in cells] if complete else []
    for wrong, said, remedy in (
        (twice, "more than once", "Leave one row for each"),
        (empty, f"without a value in '{column}'", "Fill it in"),
        (unknown, "that are not in the dataset", f"Names are as in '{manifest.files[0]}'"),
    ):
        if wrong:
            raise UserError(
                f"{table} lists {len(wrong)} files {said}: {name_some(wrong)}. {remedy}."
            )
    if missing:
        raise UserError(
            f"{table} does not list {len(missing)} of {len(manifest)} images: "
            f"{name_some(missing)}. Add a row for each."
        )
    return [cells.get(name) for name in manifest.files]


def read_lines(path: Path, table: str) -> tuple[list[str], list[dict[str, str]]]:
    """Read a CSV file as text.

    Args:
        path: of the file; a cell that a line lacks is empty.
        table: what an error calls it.

    Returns:
        The names of its columns, and its lines by column.

    Raises:
        UserError: no such file, or it is not one of text.
    """
    try:
        # Spreadsheets put a mark (BOM) before the first name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            return list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}.") from error
