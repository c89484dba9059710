"""Images to be judged: found by what a user names, and prepared for a network."""

import csv
import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukemia.data.files.images import (
    SUFFIXES,
    BadImage,
    in_threads,
    name_some,
    read_image,
    unexpected,
)
from leukemia.data.files.manifest import Manifest
from leukemia.data.image.mask import apply_mask, darken, stain_finder, stain_mask
from leukemia.data.image.preprocess import Preprocess
from leukemia.errors import UserError
from leukemia.text import from_cell

Image = str | Path | NDArray[np.uint8]
"""A file, or pixels (H, W, 3) in RGB."""

AGAIN: Final = "/ (a link to a folder that is searched already)"


@dataclass(frozen=True)
class Found:
    """The files that a user named.

    Args:
        names: how each is to be called: relative to the folder where one folder was named, with
            forward slashes; else as it was named.
        paths: where each is.
        single: whether one file was named, and neither a folder, a pattern nor a list.
        passed_over: files in folders whose suffix is none of `SUFFIXES`, and links that lead to
            folders which are searched already.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    single: bool = False
    passed_over: tuple[str, ...] = ()


def find_images(named: str | Sequence[str]) -> Found:
    """List the files that are meant by a file, a folder, a pattern, or a list of these.

    A folder is searched with all folders in it, also through links, each of them once: a link
    into a folder that is searched anyway, such as one that leads in a circle, is passed over.
    Hidden entries are left out. A file that is named, or that a pattern matches, counts whatever
    its suffix.

    Args:
        named: paths, or patterns with ``*``, ``?``, ``[...]`` and ``**`` for folders at any
            depth; ``~`` is the home folder.

    Raises:
        UserError: nothing is there under a name, or a folder cannot be read or holds no image.
    """
    several = not isinstance(named, str)
    found: list[tuple[str, Path]] = []
    passed_over: list[str] = []
    single = False
    for text in [named] if isinstance(named, str) else named:
        path = Path(text).expanduser()
        if path.is_dir():
            inside, again = _walk(path)
            images = [file for file in inside if file.suffix.lower() in SUFFIXES]
            others = [file for file in inside if file.suffix.lower() not in SUFFIXES]
            if not images:
                raise UserError(f"The folder '{text}' holds no image ({', '.join(SUFFIXES)}).")
            base = Path() if several else path
            found += [(file.relative_to(base).as_posix(), file) for file in images]
            passed_over += [*map(str, others), *(f"{link}{AGAIN}" for link in again)]
        elif not os.path.lexists(path) and glob.has_magic(text):
            files, again = _match(path)
            if not files:
                raise UserError(f"No file matches '{text}'.")
            found += [(str(file), file) for file in files]
            passed_over += [f"{link}{AGAIN}" for link in again]
        else:
            # In a list a lost file is one bad file among others.
            if not several and not os.path.lexists(path):
                raise UserError(f"There is no file or folder '{text}'.")
            single = not several
            found.append((text, path))
    if not found:
        raise UserError("Expected input to name a file, a folder or a pattern, but got nothing.")
    names, paths = zip(*found, strict=True)
    return Found(tuple(map(_printable, names)), paths, single, tuple(map(_printable, passed_over)))


def _walk(*starts: Path) -> tuple[list[Path], list[Path]]:
    """Return the visible files of folders, and the links that were not followed.

    Both are sorted: the files of a folder before those of folders in it.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"The folder '{error.filename}' cannot be read: {error.strerror}.")

    seen: set[tuple[int, int]] = set()
    found: list[Path] = []
    again: list[Path] = []
    # Links come last, so that a folder goes by its own name where it has one in here.
    waiting = sorted(starts, key=lambda path: (path.is_symlink(), path))
    while waiting:
        start = waiting.pop(0)
        if start.is_symlink() and _identity(start) in seen:
            again.append(start)
            continue
        links = []
        for where, folders, files in os.walk(start, onerror=refuse):
            folder, inside = Path(where), [name for name in folders if not name.startswith(".")]
            if _identity(folder) in seen:
                folders.clear()
                continue
            seen.add(_identity(folder))
            links += [folder / name for name in inside if (folder / name).is_symlink()]
            folders[:] = [name for name in inside if not (folder / name).is_symlink()]
            found += [folder / name for name in files if not name.startswith(".")]
        waiting += sorted(links)
    return sorted(found, key=lambda path: (path.parent.parts, path.name)), sorted(again)


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _match(pattern: Path) -> tuple[list[Path], list[Path]]:
    """Return the files that a pattern matches, sorted, and the links that were not followed."""
    parts = pattern.parts
    depth = parts.index("**") if "**" in parts else len(parts)
    heads = sorted(glob.glob(str(Path(*parts[:depth]))) if depth else ["."])  # noqa: PTH207
    if depth == len(parts):
        return [Path(head) for head in heads if not Path(head).is_dir()], []
    # Not by `glob`, which walks links that lead in a circle until their paths grow too long.
    files, again = _walk(*(Path(head) for head in heads if Path(head).is_dir()))
    return sorted(file for file in files if _fits(file.parts, parts)), again


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _printable(name: str) -> str:
    """Return a name that can be written: bytes that are no UTF-8 are spelt out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def prepare(
    images: Iterable[Image], preprocess: Preprocess, *, workers: int | None = None
) -> Iterator[NDArray[np.uint8] | BadImage]:
    """Yield the preprocessed pixels of each image in order, or why it cannot be judged.

    Threads read ahead while the caller computes.

    Args:
        images: files, or pixels (H, W, 3).
        preprocess: mask, crop and size.
        workers: threads; ``None`` for one a core, at most 8, for each may hold a large image.
    """
    workers = workers or min(os.cpu_count() or 1, 8)
    yield from in_threads(partial(prepare_image, preprocess), images, workers=workers)


def prepare_image(preprocess: Preprocess, image: Image) -> NDArray[np.uint8] | BadImage:
    """Return the preprocessed pixels (size, size, 3) of an image, or why it cannot be judged."""
    try:
        return _prepared(preprocess, image)
    except BadImage as error:
        return error
    # One file never takes the answers of the others with it.
    except Exception as error:
        return unexpected(error)


def _prepared(preprocess: Preprocess, image: Image) -> NDArray[np.uint8]:
    rgb = image if isinstance(image, np.ndarray) else read_image(Path(image))
    square = preprocess.square(rgb)
    # A network calls a blank field anything, and is sure of it. Every image of Aria et al. has
    # stained pixels, by either order of the mask.
    finder = stain_finder(preprocess.mask)
    stained = stain_mask(square, finder)
    if not stained.any():
        raise BadImage("shows no cell: none of its pixels is in the stain ranges (mask.ranges)")
    if preprocess.mask == finder:
        return darken(square, stained, finder.background)
    return apply_mask(square, preprocess.mask)


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
