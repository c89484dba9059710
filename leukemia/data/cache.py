"""Pixels prepared once into memory-mapped arrays, and embeddings that others published."""

import hashlib
import json
import math
import os
import shutil
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.classes import Classes
from leukemia.data.files.images import BadImage, decode_image, in_threads, read_bytes, unexpected
from leukemia.data.files.manifest import Manifest
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.image.stain import Normaliser
from leukemia.disk import building, remove, write_text
from leukemia.errors import UserError

checksum = zlib.crc32
"""Finds accidents, and no malice: who can write into a cache need not damage it."""

_RUN: Final = 64  # blocks that a thread reads one after the other

_checked: dict[Path, tuple[int, ...]] = {}
"""Arrays that this process has found to be whole, and what would tell that they changed."""


def check_array(
    folder: Path, shape: tuple[int, ...], n_blocks: int, *, workers: int | None = None
) -> str | None:
    """Return what is wrong with a cached array: ``None`` for nothing, '' where there is none.

    The whole array is read once in a process. CRC32 was the fastest that Python brings (4 GB/s a
    core; sha256 1.8, or 0.5 on processors without instructions for it). On two cores 2,604 images
    of 224 x 224 (392 MB) take 0.1 s, and 0.2 s where the disk must be read first, which the
    training after it would else wait for; of 448 x 448 (1.6 GB) 0.3 s and 0.7 s.

    Args:
        folder: of ``pixels.npy`` and ``marker.json``, which holds the array's shape, its size in
            bytes, and the checksums of its header and each of its blocks.
        shape: which the array should have.
        n_blocks: equal ones, of which it was written.
        workers: threads; ``None`` for one a core.
    """
    path, name = folder / "pixels.npy", folder / "marker.json"
    if not os.path.lexists(folder):
        return ""
    try:
        marker, stat = json.loads(name.read_bytes()), path.stat()
        size, sums = stat.st_size, marker["crc32"]
        if [marker["shape"], marker["bytes"], len(sums)] != [list(shape), size, 1 + n_blocks]:
            return "is not whole"
        stamp = (size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        if _checked.get(path.resolve()) == stamp:
            return None
        damaged = _count_damaged(path, size, sums, workers)
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"cannot be read ({error})"
    if damaged:
        return f"is damaged ({damaged} of {len(sums)} checksums differ)"
    _checked[path.resolve()] = stamp
    return None


def _count_damaged(path: Path, size: int, sums: list[int], workers: int | None) -> int:
    """Return how many of the header and the blocks are not what they were."""
    n_blocks = len(sums) - 1
    with path.open("rb") as file:  # as numpy writes it: 8 bytes, the length of the rest, the rest
        start = 10 + int.from_bytes(file.read(10)[8:], "little")
        file.seek(0)
        header = checksum(file.read(start)) != sums[0]
    block, rest = divmod(size - start, n_blocks)
    if header or rest or block < 1:
        return 1

    def differ(first: int) -> int:
        # Read, and not mapped: a fault of the disk would kill the process.
        with path.open("rb") as file:
            file.seek(start + first * block)
            these = sums[1 + first : 1 + first + _RUN]
            return sum(checksum(file.read(block)) != known for known in these)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return sum(pool.map(differ, range(0, n_blocks, _RUN)))


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


def read_embeddings(file: Path, classes: Classes) -> tuple[npt.NDArray[np.float32], Manifest]:
    """Read a ``.npz`` with ``embeddings`` (N, d) and ``files`` (N,), each "Class/name.jpg".

    Returns:
        Embeddings (N, d) float32, and their manifest in the same order; a row's sha256 is
        that of its embedding, so identical images still form one group.

    Raises:
        UserError: the file is absent, no such archive, has other shapes, values that are
            not finite, a file named twice, or a folder that is no class.
    """
    if not file.is_file():
        raise UserError(f"Expected data.file to be a .npz file, but '{file}' does not exist.")
    try:
        with np.load(file, allow_pickle=False) as archive:
            files = archive["files"].astype(str)
            table = archive["embeddings"].astype(np.float32)
    # A lone array (.npy) is no context manager: a TypeError.
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Expected data.file '{file}' to be a .npz with arrays 'embeddings' and 'files', "
            f"but reading it failed: {error}"
        ) from error
    if table.ndim != 2 or files.shape != (len(table),) or len(table) == 0:
        raise UserError(
            f"Expected data.file '{file}' to hold embeddings (N, d) and files (N,), "
            f"but got {table.shape} and {files.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise UserError(f"Expected finite embeddings in '{file}', but row {bad[0]} is not.")
    names, counts = np.unique(files, return_counts=True)
    if counts.max() > 1:
        raise UserError(f"Expected each file once in '{file}', but got '{names[counts > 1][0]}'.")
    labels = []
    for name in files:
        folder = name.split("/")[0]
        if "/" not in name or folder not in classes.names:
            raise UserError(
                f"Expected every entry of 'files' in '{file}' to start with a class folder of "
                f"{list(classes.names)}, but got '{name}'."
            )
        labels.append(classes.names.index(folder))
    return table, Manifest(
        files=tuple(str(name) for name in files),
        labels=np.array(labels, dtype=np.int64),
        sizes=np.zeros((len(files), 2), dtype=np.int64),
        sha256=tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in table),
    )
