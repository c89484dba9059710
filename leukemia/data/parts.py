"""The parts of a dataset: what they are, that they are disjoint, and `split.csv`."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukemia.atomic import write_text
from leukemia.classes import Classes
from leukemia.data.files import name_some
from leukemia.data.manifest import Manifest
from leukemia.errors import UserError

PARTS: Final = ("train", "val", "test")

_COLUMNS: Final = ["file", "sha256", "label", "group", "part"]


@dataclass(frozen=True, eq=False)
class Split:
    """Which rows of a manifest of N images belong to which part.

    Args:
        parts: row numbers by part, ascending; a row may be in none.
        groups: group id of each row, (N,); a group is never divided.
        notes: lines for the user, such as what was left out and why.
    """

    parts: dict[str, NDArray[np.int64]]
    groups: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def check_split(split: Split, manifest: Manifest) -> None:
    """Refuse parts from which a test figure could not be believed.

    Args:
        split: the parts.
        manifest: the table whose rows they are.

    Raises:
        UserError: parts share a file, a sha256 or a group (pairs are named), a part is empty,
            or train lacks a class of the manifest.
    """
    for what, keys in (
        ("file", manifest.files),
        ("sha256", manifest.sha256),
        ("group", split.groups.tolist()),
    ):
        if pairs := _shared(split, manifest, keys):
            raise UserError(
                f"Expected parts that share no {what}, but {len(pairs)} are shared: "
                f"{name_some(pairs)}. Make the split anew."
            )
    for part in PARTS:
        if len(split.parts[part]) == 0:
            raise UserError(f"Expected images in every part, but '{part}' is empty.")
    lacking = set(manifest.labels.tolist()) - set(manifest.labels[split.parts["train"]].tolist())
    if lacking:
        folders = [class_folder(manifest, label) for label in sorted(lacking)]
        raise UserError(
            f"Expected every class in part 'train', but it has no image of {', '.join(folders)}."
        )


def class_folder(manifest: Manifest, label: int) -> str:
    """Return how a message names a class: by its folder, or its label where it has no image."""
    rows = np.flatnonzero(manifest.labels == label)
    return f"'{manifest.files[rows[0]].split('/')[0]}'" if len(rows) else f"number {label}"


def _shared(split: Split, manifest: Manifest, keys: Sequence[object]) -> list[str]:
    first: dict[object, tuple[str, int]] = {}
    pairs = []
    for part in PARTS:
        for row in split.parts[part]:
            other, other_row = first.setdefault(keys[row], (part, row))
            if other != part:
                pairs.append(
                    f"'{manifest.files[other_row]}' ({other}) and '{manifest.files[row]}' ({part})"
                )
    return pairs


def write_split(path: Path, split: Split, manifest: Manifest, classes: Classes) -> None:
    """Write `split.csv`: file, sha256, label (the class name), group, part.

    Args:
        path: the file to replace; it is written whole or not at all.
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
        writer.writerow([manifest.files[row], manifest.sha256[row], label, split.groups[row], part])
    write_text(path, buffer.getvalue())


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
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns, lines = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The split '{path}' cannot be read: {error}.") from error
    if columns != _COLUMNS:
        raise UserError(
            f"Expected the split '{path}' to have the columns {','.join(_COLUMNS)}, "
            f"but got '{','.join(columns)}'."
        )
    return lines


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
