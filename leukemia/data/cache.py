"""Normalised, cropped, masked pixels, computed once into one memory-mapped array."""

import hashlib
import json
import os
import platform
import shutil
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.atomic import write_text
from leukemia.data.files import BadImage, decode_image, read_bytes
from leukemia.data.manifest import Manifest
from leukemia.data.normalise import Normaliser
from leukemia.data.pool import in_threads
from leukemia.data.preprocess import Preprocess
from leukemia.errors import UserError


def open_pixels(
    root: Path,
    manifest: Manifest,
    preprocess: Preprocess,
    cache_dir: Path,
    *,
    workers: int | None = None,
) -> NDArray[np.uint8]:
    """Open the array of all images' pixels, built first where it is not there yet.

    Args:
        root: the folder of images.
        manifest: its images, in order.
        preprocess: mask, crop and size.
        cache_dir: where arrays are kept; an array belongs to the files' hashes and the settings.
        workers: threads; ``None`` for one a core.

    Returns:
        Memory-mapped, read-only, shape ``(N, size, size, 3)``, uint8.

    Raises:
        UserError: the cache folder cannot be written, or an image is no longer what the
            manifest says.
    """
    own: list[None] = []
    stain = preprocess.stain
    counted = preprocess if stain is None else replace(preprocess, stain=_Counted(stain, own))

    def prepare(row: int) -> NDArray[np.uint8]:
        return counted(_read(root, manifest, row))[None]

    key = "\n".join([preprocess.key, *manifest.sha256])
    shape = (1, preprocess.size, preprocess.size, 3)
    pixels = open_blocks(key, prepare, len(manifest), shape, cache_dir, workers=workers)
    if stain is not None and own:
        print(
            f"{len(own)} of {len(manifest)} images keep their own colours: they lack the glass, "
            f"tissue or two stains that stain.method={stain.method} needs.",
            file=sys.stderr,
        )
    return pixels


@dataclass(frozen=True)
class _Counted:
    """Adds an entry to a list for each image that stays as it is."""

    method: ClassVar[str] = "counted"
    stain: Normaliser
    own: list[None]

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        found = self.stain(rgb)
        if found is rgb:
            self.own.append(None)
        return found


def open_blocks(
    key: str,
    make: Callable[[int], NDArray[np.uint8]],
    n_blocks: int,
    shape: tuple[int, int, int, int],
    cache_dir: Path,
    *,
    workers: int | None = None,
) -> NDArray[np.uint8]:
    """Open an array of pixels, built first where it is not there yet, block by block.

    Several processes may build it at once: each fills a folder of its own, and the first to
    finish renames it into place.

    Args:
        key: a text that differs where the pixels would.
        make: returns the pixels of a block, from 0 on, of the given shape.
        n_blocks: how many.
        shape: of one block: images, height, width, 3.
        cache_dir: where arrays are kept.
        workers: threads; ``None`` for one a core.

    Returns:
        Memory-mapped, read-only, shape ``(n_blocks * images, height, width, 3)``, uint8.

    Raises:
        UserError: the cache folder cannot be written.
    """
    folder = cache_dir / f"pixels-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    whole = (n_blocks * shape[0], *shape[1:])
    if not _whole(folder, whole):
        try:
            _build(folder, make, n_blocks, whole, workers)
        except OSError as error:
            raise UserError(
                f"Cannot write the cache in data.cache_dir '{cache_dir}': {error}. Make room, or "
                f"name another folder."
            ) from error
    return np.lib.format.open_memmap(folder / "pixels.npy", mode="r")


def _whole(folder: Path, shape: tuple[int, ...]) -> bool:
    try:
        marker = json.loads((folder / "marker.json").read_text())
        size = (folder / "pixels.npy").stat().st_size
    except (OSError, ValueError):
        return False
    return bool(marker == {"shape": list(shape), "bytes": size})


def _build(
    folder: Path,
    make: Callable[[int], NDArray[np.uint8]],
    n_blocks: int,
    shape: tuple[int, ...],
    workers: int | None,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clean(folder.parent)
    own = folder.parent / f".building.{os.getpid()}.{uuid.uuid4().hex}.{platform.node()}"
    own.mkdir()
    try:
        path = own / "pixels.npy"
        _write_pixels(path, make, n_blocks, shape, workers)
        # Written last, so its existence means that the array is whole.
        marker = {"shape": list(shape), "bytes": path.stat().st_size}
        write_text(own / "marker.json", json.dumps(marker))
        if folder.exists() and not _whole(folder, shape):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            own.rename(folder)
        except OSError:
            # Another process was first; its array is the same.
            if not _whole(folder, shape):
                raise
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _write_pixels(
    path: Path,
    make: Callable[[int], NDArray[np.uint8]],
    n_blocks: int,
    shape: tuple[int, ...],
    workers: int | None,
) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        lock = threading.Lock()

        def fill(block: int) -> None:
            pixels = make(block)
            # Not through a memory map, which kills the process (SIGBUS) when the disk is full.
            with lock:
                file.seek(start + block * pixels.nbytes)
                file.write(pixels.tobytes())

        done = in_threads(fill, range(n_blocks), workers=workers)
        for _ in tqdm(done, "caching pixels", n_blocks, leave=False, disable=None, unit="image"):
            pass
        file.flush()
        os.fsync(file.fileno())


def _read(root: Path, manifest: Manifest, row: int) -> NDArray[np.uint8]:
    path = root / manifest.files[row]
    try:
        data = read_bytes(path)
        # The cache is known by these hashes, so it must hold what they stand for.
        if hashlib.sha256(data).hexdigest() != manifest.sha256[row]:
            raise BadImage("changed since the folder was listed")
        return decode_image(data)
    except BadImage as error:
        raise UserError(f"'{path}' cannot be used: {error}. Start again.") from error


def _clean(cache_dir: Path) -> None:
    for left in cache_dir.glob(".building.*"):
        _, _, pid, _, node = left.name.split(".", 4)
        # Another machine's process may well be alive.
        if node == platform.node() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
