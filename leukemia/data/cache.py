"""Masked, cropped pixels, computed once into one memory-mapped array."""

import hashlib
import json
import os
import platform
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.atomic import write_text
from leukemia.data.crop import to_square
from leukemia.data.files import BadImage, decode_image, read_bytes
from leukemia.data.manifest import Manifest
from leukemia.data.mask import MaskSpec, apply_mask
from leukemia.data.pool import in_threads
from leukemia.data.scale_bar import remove_scale_bar
from leukemia.errors import UserError

FORMAT = 2  # raise it when the same settings come to mean other pixels


@dataclass(frozen=True)
class Preprocess:
    """What happens to an image once: freed of its scale bar, cropped by its stain, masked.

    Args:
        mask: which pixels are kept.
        crop: ``square`` or ``squash``.
        size: side of the result in pixels.
        scale_bar: ``keep``, or ``remove`` to paint it over, see `remove_scale_bar`.

    Raises:
        UserError: a size that is no whole number from 1 on, or an unknown ``scale_bar``.
    """

    mask: MaskSpec = field(default_factory=MaskSpec)
    crop: str = "square"
    size: int = 224
    scale_bar: str = "keep"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not isinstance(self.size, int) or self.size < 1:
            raise UserError(f"Expected crop.size to be 1 or more pixels, but got {self.size!r}.")
        if self.scale_bar not in ("keep", "remove"):
            raise UserError(
                f"Expected mask.scale_bar to be one of keep, remove, but got '{self.scale_bar}'."
            )

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pixels (size, size, 3) of an image (H, W, 3)."""
        return apply_mask(self.square(rgb), self.mask)

    def square(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same, not yet masked."""
        clean = remove_scale_bar(rgb) if self.scale_bar == "remove" else rgb
        return to_square(clean, self.crop, self.mask, self.size)

    @property
    def key(self) -> str:
        """A text that differs where the pixels would."""
        return json.dumps([FORMAT, asdict(self)])


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

    def prepare(row: int) -> NDArray[np.uint8]:
        return preprocess(_read(root, manifest, row))[None]

    key = "\n".join([preprocess.key, *manifest.sha256])
    shape = (1, preprocess.size, preprocess.size, 3)
    return open_blocks(key, prepare, len(manifest), shape, cache_dir, workers=workers)


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
