"""The table of a dataset: one row an image."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.atomic import write_text
from leukemia.check import check_choice, check_count
from leukemia.classes import Classes
from leukemia.data.files import (
    BadImage,
    ImageFile,
    decode_image,
    list_images,
    name_some,
    read_bytes,
)
from leukemia.errors import UserError

# Part of the cache's key: raise it when `decode_image` changes what it accepts or how it turns.
_VERSION = 2

Fact = tuple[int, int, str]
"""What reading a file tells: width, height, sha256."""


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
    """

    files: tuple[str, ...]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sha256: tuple[str, ...]
    skipped: tuple[BadFile, ...] = ()

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
        )

    @property
    def fingerprint(self) -> str:
        """A sha256 over files, labels and hashes, in hex; the order of rows counts."""
        return _digest([self.files, self.labels.tolist(), self.sha256])


def build_manifest(
    root: Path,
    classes: Classes,
    *,
    on_bad: str = "error",
    cache_dir: Path | None = None,
    workers: int | None = None,
) -> Manifest:
    """Read every image of a folder once, and list it.

    Args:
        root: a folder with one subfolder a class.
        classes: the class scheme.
        on_bad: ``error`` refuses files that are no whole image, ``skip`` leaves them out.
        cache_dir: keeps what was read; while no path, size or time of change differs, later
            calls read only the files that were bad.
        workers: threads that read (decoding releases Python's lock); ``None`` for one a core.

    Returns:
        One row an image, sorted by label and path.

    Raises:
        UserError: a bad setting, a folder that `list_images` refuses, bad files (all of them
            with reasons), a class of which no image is left, or a cache that cannot be written.
    """
    check_choice("data.on_bad", on_bad, ("error", "skip"))
    if workers is not None:
        check_count("data.workers", workers)
    images = list_images(root, classes)
    facts, bad = _facts(root, classes, images, cache_dir, workers)
    if bad and on_bad == "error":
        raise UserError(
            f"{len(bad)} of {len(images)} files in data.root '{root}' are no whole images: "
            f"{name_some([f'{b.path} ({b.reason})' for b in bad])}. "
            f"Mend or remove them, or leave them out with data.on_bad=skip."
        )
    good = [image for image in images if image.path in facts]
    present = {image.label for image in good}
    emptied = [name for label, name in enumerate(classes.names) if label not in present]
    if emptied:
        raise UserError(
            f"No readable image is left in {', '.join(emptied)} of data.root '{root}': "
            f"{name_some([f'{b.path} ({b.reason})' for b in bad])}. Mend them."
        )
    return Manifest(
        files=tuple(image.path for image in good),
        labels=np.array([image.label for image in good], dtype=np.int64),
        sizes=np.array([facts[image.path][:2] for image in good], dtype=np.int64),
        sha256=tuple(facts[image.path][2] for image in good),
        skipped=tuple(bad),
    )


def _facts(
    root: Path,
    classes: Classes,
    images: list[ImageFile],
    cache_dir: Path | None,
    workers: int | None,
) -> tuple[dict[str, Fact], list[BadFile]]:
    cache = cache_dir and cache_dir / f"manifest-{_key(root, classes, images)}.json"
    facts = _load(cache) if cache else {}
    # Bad files are read anew each time: a fault of the disk or of permissions may have passed.
    unread = [image.path for image in images if image.path not in facts]
    bad = []
    for path, found in zip(unread, _scan(root, unread, workers), strict=True):
        if isinstance(found, str):
            bad.append(BadFile(path, found))
        else:
            facts[path] = found
    if cache and len(unread) > len(bad):
        try:
            write_text(cache, json.dumps({"facts": facts, "sha256": _digest(facts)}))
        except OSError as error:
            raise UserError(
                f"The cache '{cache_dir}' cannot be written ({error.strerror}): "
                f"set data.cache_dir to another folder."
            ) from error
    return facts, bad


def _scan(root: Path, paths: list[str], workers: int | None) -> Iterator[Fact | str]:
    if not paths:
        return
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        found = pool.map(lambda path: _inspect(root / path), paths)
        # Silent where stderr is no terminal.
        yield from tqdm(
            found, "reading images", len(paths), leave=False, disable=None, unit="image"
        )


def _inspect(path: Path) -> Fact | str:
    """Return what a file tells, or the reason why it is bad."""
    try:
        data = read_bytes(path)
        height, width, _ = decode_image(data).shape
    except BadImage as error:
        return str(error)
    return width, height, hashlib.sha256(data).hexdigest()


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _key(root: Path, classes: Classes, images: list[ImageFile]) -> str:
    stats = [(image.path, *_size_and_time(root / image.path)) for image in images]
    return _digest([_VERSION, str(root.resolve()), classes.names, stats])[:32]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, -1  # a dangling link: `_inspect` will say so
    return stat.st_size, stat.st_mtime_ns


def _load(cache: Path) -> dict[str, Fact]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        if content["sha256"] != _digest(content["facts"]):
            return {}
        return {path: (w, h, sha256) for path, (w, h, sha256) in content["facts"].items()}
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # absent or damaged: it is built again
