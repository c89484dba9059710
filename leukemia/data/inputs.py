"""Images to be judged: found by what a user names, and prepared for a network."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leukemia.data.files import BadImage, read_image
from leukemia.data.mask import apply_mask, darken, stain_finder, stain_mask
from leukemia.data.pool import in_threads
from leukemia.data.preprocess import Preprocess
from leukemia.errors import UserError

Image = str | Path | NDArray[np.uint8]
"""A file, or pixels (H, W, 3) in RGB."""

SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff"),
    *(".bmp", ".dib", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Of the files in a folder, those that should be images of `files.FORMATS`."""


@dataclass(frozen=True)
class Found:
    """The files that a user named.

    Args:
        names: how each is to be called: relative to the folder where one folder was named, with
            forward slashes; else as it was named.
        paths: where each is.
        single: whether one file was named, and neither a folder, a pattern nor a list.
        passed_over: files in folders whose suffix is none of `SUFFIXES`.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    single: bool = False
    passed_over: tuple[str, ...] = ()


def find_images(named: str | Sequence[str]) -> Found:
    """List the files that are meant by a file, a folder, a pattern, or a list of these.

    A folder is searched with all folders in it, except through links to folders; hidden entries
    are passed over. A file that is named, or that a pattern matches, counts whatever its suffix.

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
            inside = list(_walk(path))
            base = path if several else Path()
            images = [file for file in inside if file.suffix.lower() in SUFFIXES]
            others = [file for file in inside if file.suffix.lower() not in SUFFIXES]
            if not images:
                raise UserError(f"The folder '{text}' holds no image ({', '.join(SUFFIXES)}).")
            found += [((base / file).as_posix(), path / file) for file in images]
            passed_over += [str(path / file) for file in others]
        elif not os.path.lexists(path) and glob.has_magic(text):
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - takes any path
            files = [match for match in matches if not Path(match).is_dir()]
            if not files:
                raise UserError(f"No file matches '{text}'.")
            found += [(match, Path(match)) for match in files]
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


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the visible files of a folder, relative to it, sorted."""

    def refuse(error: OSError) -> None:
        raise UserError(f"The folder '{error.filename}' cannot be read: {error.strerror}.")

    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield (Path(where) / name).relative_to(folder)


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
        rgb = image if isinstance(image, np.ndarray) else read_image(Path(image))
    except BadImage as error:
        return error
    square = preprocess.square(rgb)
    # A network calls a blank field anything, and is sure of it. Every image of Aria et al. has
    # stained pixels, by either order of the mask.
    finder = stain_finder(preprocess.mask)
    stained = stain_mask(square, finder)
    if not stained.any():
        return BadImage("shows no cell: none of its pixels is in the stain ranges (mask.ranges)")
    if preprocess.mask == finder:
        return darken(square, stained, finder.background)
    return apply_mask(square, preprocess.mask)
