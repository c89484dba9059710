"""The table of a dataset: one row an image."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.classes import Classes
from leukemia.data.files.folders import FOLDERS, ImageFile, Layout, list_images
from leukemia.data.files.images import BadImage, decode_image, name_some, read_bytes, unexpected
from leukemia.disk import building, remove, sweep
from leukemia.errors import UserError, check_choice, check_count

Stamp = tuple[int, int, int, int]
"""Size, times of change of content (mtime) and of anything (ctime), nanoseconds, and inode: what
no copy, exchange or restored time leaves as it was, on a local file system."""


class Fact(NamedTuple):
    """What reading a file told, and by what it is known to be the same still."""

    width: int
    height: int
    sha256: str
    stamp: Stamp


def digest(content: object) -> str:
    """Return a sha256 over what can be written as JSON, in hex."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def stamp_of(path: Path) -> Stamp:
    """Return by what a file is known to be the same, -1 throughout where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1, -1, -1  # a dangling link: reading it will say so
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def load_facts(cache: Path) -> dict[str, Fact]:
    """Return what was kept by path; nothing, with a line on stderr, where that is damaged."""
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        if content["sha256"] != digest(content["facts"]):
            raise ValueError("not what was written")
        return {
            path: Fact(width, height, sha256, tuple(stamp))
            for path, (width, height, sha256, stamp) in content["facts"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        print(f"The cache '{cache}' is damaged ({error}): all images are read.", file=sys.stderr)
        return {}


def save_facts(cache: Path, facts: dict[str, Fact]) -> None:
    """Keep facts by path.

    Raises:
        UserError: they cannot be written.
    """
    text = json.dumps({"facts": facts, "sha256": digest(facts)})
    try:
        with building(cache.parent) as beside:
            beside.write_text(text, encoding="utf-8")
            if cache.is_dir():  # our name, but nothing that we can read
                remove(cache)
            beside.replace(cache)
    except OSError as error:
        raise UserError(
            f"The cache '{cache.parent}' cannot be written ({error.strerror}): "
            f"set data.cache_dir to another folder."
        ) from error


# Part of the cache's key: raise it when `decode_image` changes what it accepts or how it turns.
_VERSION = 3


@dataclass(frozen=True)
class BadFile:
    """A file that was left out.

    Args:
        path: relative to the dataset's folder.
        reason: why it cannot be used.
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Manifest:
    """The N images of a dataset.

    Args:
        files: paths relative to the dataset's folder, with forward slashes, each once.
        labels: class indices, (N,).
        sizes: width and height in pixels, upright, (N, 2).
        sha256: of each file's bytes, in hex.
        skipped: files left out as unreadable.
        names: of the labels, where the files' folders are not the classes.
        related: which patient each file is of, as its name tells (`Layout`), empty where it tells
            none; no entries at all where no name tells any.
    """

    files: tuple[str, ...]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sha256: tuple[str, ...]
    skipped: tuple[BadFile, ...] = ()
    names: tuple[str, ...] = ()
    related: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of images."""
        return len(self.files)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "Manifest":
        """Return the rows at ``indices``, in their order."""
        rows = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            files=tuple(self.files[row] for row in rows),
            labels=self.labels[rows],
            sizes=self.sizes[rows],
            sha256=tuple(self.sha256[row] for row in rows),
            related=tuple(self.related[row] for row in rows) if self.related else (),
        )

    @property
    def fingerprint(self) -> str:
        """A sha256 over files, labels and hashes, in hex; the order of rows counts."""
        return digest([self.files, self.labels.tolist(), self.sha256])


def build_manifest(
    root: Path,
    classes: Classes,
    *,
    layout: Layout = FOLDERS,
    fixed: bool = False,
    on_bad: str = "error",
    cache_dir: Path | None = None,
    workers: int | None = None,
    verify: bool = False,
) -> Manifest:
    """Read every image of a folder once, and list it.

    Later calls trust what the cache says of a file whose `Stamp` is the same, read and hash the
    others (as all of them where the cache comes from another machine), and decode only content
    that is new. Of 2,604 files of 57 MB together, on two busy cores: 0.15 s where all are
    trusted, 0.5 s where all are hashed, 0.7 s where they must come from the disk first.

    Args:
        root: a folder with one subfolder a class, or as the layout says.
        classes: the class scheme.
        layout: how the files tell their classes.
        fixed: whether the classes are those of a finished run, see `list_images`.
        on_bad: ``error`` refuses files that are no whole image, ``skip`` leaves them out.
        cache_dir: keeps what was read, but for files that were bad.
        workers: threads that read (decoding releases Python's lock); ``None`` for one a core.
        verify: hash every file, whatever its stamp: wherever a test part is opened.

    Returns:
        One row an image, sorted by label and path.

    Raises:
        UserError: a bad setting, a folder that `list_images` refuses, bad files (all of them
            with reasons), a class of which no image is left, or a cache that cannot be written.
    """
    check_choice("data.on_bad", on_bad, ("error", "skip"))
    if workers is not None:
        check_count("data.workers", workers)
    images = list_images(root, classes, layout, fixed=fixed)
    if cache_dir:
        sweep(cache_dir)  # every command that uses the cache comes by here
    facts, bad = _facts(root, classes, images, cache_dir, workers, verify)
    if bad and on_bad == "error":
        raise UserError(
            f"{len(bad)} of {len(images)} files in data.root '{root}' are no whole images: "
            f"{name_some([f'{b.path} ({b.reason})' for b in bad])}. "
            f"Mend or remove them, or leave them out with data.on_bad=skip."
        )
    good = [image for image in images if image.path in facts]
    present = {image.label for image in good}
    listed = {image.label for image in images}
    emptied = [classes.names[label] for label in sorted(listed - present)]
    if emptied:
        raise UserError(
            f"No readable image is left in {', '.join(emptied)} of data.root '{root}': "
            f"{name_some([f'{b.path} ({b.reason})' for b in bad])}. Mend them."
        )
    return Manifest(
        files=tuple(image.path for image in good),
        labels=np.array([image.label for image in good], dtype=np.int64),
        sizes=np.array([facts[image.path][:2] for image in good], dtype=np.int64),
        sha256=tuple(facts[image.path].sha256 for image in good),
        skipped=tuple(bad),
        names=() if layout.pattern is None else classes.names,
        related=tuple(image.related for image in good) if layout.relates else (),
    )


def _facts(
    root: Path,
    classes: Classes,
    images: list[ImageFile],
    cache_dir: Path | None,
    workers: int | None,
    verify: bool,
) -> tuple[dict[str, Fact], list[BadFile]]:
    # The folder tells apart data sets whose files have the same names.
    key = digest([_VERSION, str(root.resolve()), classes.names])[:32]
    cache = cache_dir and cache_dir / f"manifest-{key}.json"
    known = load_facts(cache) if cache else {}
    # Before they are read: what changes meanwhile is read again by the next call.
    stamps = {image.path: stamp_of(root / image.path) for image in images}
    trusted = {
        path
        for path, stamp in stamps.items()
        if not verify and path in known and known[path].stamp == stamp
    }
    # Bad files are read anew each time: a fault of the disk or of permissions may have passed.
    unread = [path for path in stamps if path not in trusted]
    sizes = {fact.sha256: fact[:2] for fact in known.values()}
    facts, bad = {path: known[path] for path in trusted}, []
    for path, found in zip(unread, _scan(root, unread, sizes, workers), strict=True):
        if isinstance(found, str):
            bad.append(BadFile(path, found))
        else:
            facts[path] = Fact(*found, stamps[path])
    if cache and facts != known:
        save_facts(cache, {path: facts[path] for path in stamps if path in facts})
    return facts, bad


def _scan(
    root: Path, paths: list[str], sizes: dict[str, tuple[int, int]], workers: int | None
) -> Iterator[tuple[int, int, str] | str]:
    if not paths:
        return
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        found = pool.map(partial(_inspect, sizes), [root / path for path in paths])
        # Silent where stderr is no terminal.
        yield from tqdm(
            found, "reading images", len(paths), leave=False, disable=None, unit="image"
        )


def _inspect(sizes: dict[str, tuple[int, int]], path: Path) -> tuple[int, int, str] | str:
    """Return width, height and sha256, or the reason why a file is bad.

    Args:
        sizes: by sha256, of files that are known to be good.
        path: the file.
    """
    try:
        data = read_bytes(path)
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in sizes:
            return *sizes[sha256], sha256
        height, width, _ = decode_image(data).shape
    except BadImage as error:
        return str(error)
    # One file never takes what is said of the others with it.
    except Exception as error:
        return str(unexpected(error))
    return width, height, sha256
