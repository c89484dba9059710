"""The parts of a dataset: what they are, `split.csv`, and tables of the user."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukemia.classes import Classes
from leukemia.data.files.images import name_some
from leukemia.data.files.inputs import read_column, read_lines
from leukemia.data.files.manifest import Manifest
from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.text import as_cell, from_cell

PARTS: Final = ("train", "val", "test")

_COLUMNS: Final = ["file", "sha256", "label", "group", "part"]


@dataclass(frozen=True, eq=False)
class Split:
    """Which rows of a manifest of N images belong to which part.

    Args:
        parts: row numbers by part, ascending; a row may be in none.
        groups: group id of each row, (N,); `check_split` refuses parts that divide one.
        notes: lines for the user, such as what was left out and why.
        protocol: how the parts were made (`split=`).
        warnings: lines that must stand beside every figure; `check_split` writes them.
    """

    parts: dict[str, NDArray[np.int64]]
    groups: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    protocol: str = ""
    warnings: tuple[str, ...] = ()


def file_split(manifest: Manifest, groups: NDArray[np.int64], file: str | Path) -> Split:
    """Take the parts from a table of the user, such as another run's split.csv.

    Args:
        manifest: the N images; those that the table does not list are in no part.
        groups: group ids, (N,).
        file: a CSV table with the columns ``file`` and ``part``: train, val or test.

    Returns:
        The parts; `check_split` has not seen them.

    Raises:
        UserError: a table that `read_column` refuses, or another part (files are named).
    """
    path = Path(file).expanduser()
    found = read_column(path, "part", manifest, setting="split.file", complete=False)
    wrong = [
        f"'{name}' in '{part}'"
        for name, part in zip(manifest.files, found, strict=True)
        if part not in (None, *PARTS)
    ]
    if wrong:
        raise UserError(
            f"Expected every part in split.file '{path}' to be {', '.join(PARTS)}, "
            f"but got {name_some(wrong)}."
        )
    parts = {
        part: np.array([row for row, name in enumerate(found) if name == part], dtype=np.int64)
        for part in PARTS
    }
    unused = found.count(None)
    notes = [f"{unused} of {len(manifest)} images are not in split.file, and unused."]
    return Split(parts, groups, tuple(notes if unused else ()))


def class_folder(manifest: Manifest, label: int) -> str:
    """Return how a message names a class: by its folder, or its label where it has no image."""
    if manifest.names:
        return f"'{manifest.names[label]}'"
    rows = np.flatnonzero(manifest.labels == label)
    return f"'{manifest.files[rows[0]].split('/')[0]}'" if len(rows) else f"number {label}"


def write_split(path: Path, split: Split, manifest: Manifest, classes: Classes) -> None:
    """Write `split.csv` whole or not at all, see `split_text`."""
    write_text(path, split_text(split, manifest, classes))


def split_text(split: Split, manifest: Manifest, classes: Classes) -> str:
    """Return the text of a `split.csv`: file, sha256, label (the class name), group, part.

    Args:
        split: the parts.
        manifest: the table whose rows they are; the rows used are written in its order.
        classes: names of the labels.
    """
    part_of = {int(row): part for part in PARTS for row in split.parts[part]}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row, part in sorted(part_of.items()):
        label = classes.names[manifest.labels[row]]
        cells = [as_cell(manifest.files[row]), manifest.sha256[row], as_cell(label)]
        writer.writerow([*cells, split.groups[row], part])
    return buffer.getvalue()


def check_same(path: Path, text: str, unreadable: Mapping[str, str]) -> None:
    """Refuse to go on where a run's images, or their parts, are no longer those it began with.

    Args:
        path: the run's `split.csv`.
        text: what it would be now, by `split_text`.
        unreadable: files that cannot be read now, with reasons.

    Raises:
        UserError: the two differ; the first files that do are named.
    """
    if path.is_file() and path.read_bytes() == text.encode():
        return
    before = {row["file"]: row for row in read_table(path)}
    now = {row["file"]: row for row in map(_from_cells, csv.DictReader(io.StringIO(text)))}
    wrong = [
        f"'{file}' {_change(before.get(file), now.get(file), unreadable.get(file))}"
        for file in dict.fromkeys([*before, *now])
        if before.get(file) != now.get(file)
    ]
    raise UserError(
        f"The images are no longer those that '{path}' lists: {name_some(wrong or ['rows'], 5)}. "
        f"Bring them back, or start a new run."
    )


def _change(before: dict[str, str] | None, now: dict[str, str] | None, bad: str | None) -> str:
    if bad is not None:
        return f"cannot be read ({bad})"
    if now is None:
        return "is not there, or no longer in a part"
    if before is None:
        return "is new"
    column = next(name for name in _COLUMNS if before[name] != now[name])
    if column == "sha256":
        return "has changed (its sha256 is another)"
    return f"has the {column} '{now[column]}' instead of '{before[column]}'"


def read_split(path: Path, manifest: Manifest, classes: Classes) -> Split:
    """Read what `write_split` wrote, for images that are still the same.

    Args:
        path: a `split.csv`.
        manifest: the images that are there now; those the file does not list are in no part.
        classes: names of the labels.

    Returns:
        The parts; `check_split` has not seen them.

    Raises:
        UserError: no such table, or it lists a file twice, one that the manifest lacks, or one
            whose sha256 or label is another now (files are named).
    """
    row_of = {file: row for row, file in enumerate(manifest.files)}
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    group_of: dict[int, int] = {}
    wrong = []
    for line in read_table(path):
        file, sha256, label, group, part = (line[column] for column in _COLUMNS)
        row = row_of.get(file)
        if row is None:
            wrong.append(f"'{file}' is not there")
        elif sha256 != manifest.sha256[row]:
            wrong.append(f"'{file}' has changed (its sha256 is another)")
        elif label != classes.names[manifest.labels[row]]:
            wrong.append(f"'{file}' has another label than '{label}'")
        elif row in group_of:
            wrong.append(f"'{file}' is listed twice")
        elif part not in PARTS or not group.isdecimal():
            wrong.append(f"'{file}' has part '{part}' and group '{group}'")
        else:
            group_of[row] = int(group)
            parts[part].append(row)
    if wrong:
        raise UserError(
            f"The split '{path}' does not fit the images: {name_some(wrong)}. "
            f"Restore these files, or make the split anew."
        )
    return Split(
        {part: np.array(sorted(rows), dtype=np.int64) for part, rows in parts.items()},
        _groups_of_all(manifest, group_of),
    )


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `split.csv` as text.

    Raises:
        UserError: no such table.
    """
    columns, lines = read_lines(path, f"The split '{path}'")
    if columns != _COLUMNS:
        raise UserError(
            f"Expected the split '{path}' to have the columns {','.join(_COLUMNS)}, "
            f"but got '{','.join(columns)}'."
        )
    return list(map(_from_cells, lines))


def _from_cells(line: dict[str, str]) -> dict[str, str]:
    return line | {name: from_cell(line[name]) for name in ("file", "label")}


def _groups_of_all(manifest: Manifest, group_of: dict[int, int]) -> NDArray[np.int64]:
    """Give the rows that a file does not list the groups of their copies, or new ones."""
    known = {manifest.sha256[row]: group for row, group in group_of.items()}
    fresh = max(group_of.values(), default=-1) + 1
    groups = []
    for row, sha256 in enumerate(manifest.sha256):
        if row not in group_of and sha256 not in known:
            known[sha256] = fresh
            fresh += 1
        groups.append(group_of.get(row, known[sha256]))
    return np.array(groups, dtype=np.int64)
