"""Normalised, cropped, masked pixels, computed once into one memory-mapped array."""

import hashlib
import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.atomic import write_text
from leukemia.data.checksums import check_array, checksum
from leukemia.data.files import BadImage, decode_image, read_bytes, unexpected
from leukemia.data.manifest import Manifest
from leukemia.data.normalise import Normaliser
from leukemia.data.pool import in_threads
from leukemia.data.preprocess import Preprocess
from leukemia.errors import UserError
from leukemia.leftovers import building, remove


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
        rgb = _read(root, manifest, row)
        try:
            return counted(rgb)[None]
        except Exception as error:  # of OpenCV, or memory that is short
            path = root / manifest.files[row]
            raise UserError(
                f"'{path}' cannot be prepared: {unexpected(error)}. Mend or remove it."
            ) from error

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
    finish renames it into place. An array that is there is checked by `check_array`, and built
    again where it is damaged.

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
    fault = check_array(folder, whole, n_blocks, workers=workers)
    if fault is not None:
        if fault:
            print(f"The cache '{folder}' {fault}: it is built again.", file=sys.stderr)
        try:
            _build(folder, make, n_blocks, whole, workers)
        except OSError as error:
            raise UserError(
                f"Cannot write the cache in data.cache_dir '{cache_dir}': {error}. Make room, or "
                f"name another folder."
            ) from error
    return np.lib.format.open_memmap(folder / "pixels.npy", mode="r")


def _build(
    folder: Path,
    make: Callable[[int], NDArray[np.uint8]],
    n_blocks: int,
    shape: tuple[int, ...],
    workers: int | None,
) -> None:
    with building(folder.parent) as own:
        size, free = math.prod(shape), shutil.disk_usage(folder.parent).free
        if size > free:
            raise OSError(f"it takes {size:,} bytes, and {free:,} are free")
        own.mkdir()
        path = own / "pixels.npy"
        sums = _write_pixels(path, make, n_blocks, shape, workers)
        # Written last, so its existence means that the array is whole.
        marker = {"shape": list(shape), "bytes": path.stat().st_size, "crc32": sums}
        write_text(own / "marker.json", json.dumps(marker))
        if check_array(folder, shape, n_blocks, workers=workers) is not None:
            remove(folder)
        try:
            own.rename(folder)
        except OSError:
            # Another process was first; its array is the same.
            if check_array(folder, shape, n_blocks, workers=workers) is not None:
                raise


def _write_pixels(
    path: Path,
    make: Callable[[int], NDArray[np.uint8]],
    n_blocks: int,
    shape: tuple[int, ...],
    workers: int | None,
) -> list[int]:
    """Write an array, and return the checksums of its header and its blocks."""
    sums = [0] * (1 + n_blocks)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.flush()
        sums[0] = checksum(path.read_bytes())
        lock = threading.Lock()

        def fill(block: int) -> None:
            pixels = make(block).tobytes()
            sums[1 + block] = checksum(pixels)
            # Not through a memory map, which kills the process (SIGBUS) when the disk is full.
            with lock:
                file.seek(start + block * len(pixels))
                file.write(pixels)

        done = in_threads(fill, range(n_blocks), workers=workers)
        for _ in tqdm(done, "caching pixels", n_blocks, leave=False, disable=None, unit="image"):
            pass
        file.flush()
        os.fsync(file.fileno())
    return sums


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
