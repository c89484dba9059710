"""Masked, cropped pixels, computed once into one memory-mapped array."""

import hashlib
import json
import os
import platform
import shutil
import threading
import uuid
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
from leukemia.errors import UserError

FORMAT = 2  # raise it when the same settings come to mean other pixels


@dataclass(frozen=True)
class Preprocess:
    """What happens to an image once: cropped by its stain, then masked.

    Args:
        mask: which pixels are kept.
        crop: ``square`` or ``squash``.
        size: side of the result in pixels.

    Raises:
        UserError: a size that is no whole number from 1 on.
    """

    mask: MaskSpec = field(default_factory=MaskSpec)
    crop: str = "square"
    size: int = 224

    def __post_init__(self) -> None:
        """Refuse a size that cannot be."""
        if not isinstance(self.size, int) or self.size < 1:
            raise UserError(f"Expected crop.size to be 1 or more pixels, but got {self.size!r}.")

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pixels (size, size, 3) of an image (H, W, 3)."""
        return apply_mask(self.square(rgb), self.mask)

    def square(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pixels (size, size, 3) of an image (H, W, 3), not yet masked."""
        return to_square(rgb, self.crop, self.mask, self.size)

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

    Several processes may build it at once: each fills a folder of its own, and the first to
    finish renames it into place.

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
    digest = hashlib.sha256("\n".join([preprocess.key, *manifest.sha256]).encode()).hexdigest()
    folder = cache_dir / f"pixels-{digest[:32]}"
    shape = (len(manifest), preprocess.size, preprocess.size, 3)
    if not _whole(folder, shape):
        try:
            _build(folder, root, manifest, preprocess, shape, workers)
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
    root: Path,
    manifest: Manifest,
    preprocess: Preprocess,
    shape: tuple[int, ...],
    workers: int | None,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clean(folder.parent)
    own = folder.parent / f".building.{os.getpid()}.{uuid.uuid4().hex}.{platform.node()}"
    own.mkdir()
    try:
        path = own / "pixels.npy"
        _write_pixels(path, root, manifest, preprocess, shape, workers)
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
    root: Path,
    manifest: Manifest,
    preprocess: Preprocess,
    shape: tuple[int, ...],
    workers: int | None,
) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        lock = threading.Lock()

        def fill(row: int) -> None:
            pixels = preprocess(_read(root, manifest, row))
            # Not through a memory map, which kills the process (SIGBUS) when the disk is full.
            with lock:
                file.seek(start + row * pixels.nbytes)
                file.write(pixels.tobytes())

        done = in_threads(fill, range(len(manifest)), workers=workers)
        for _ in tqdm(
            done, "caching pixels", len(manifest), leave=False, disable=None, unit="image"
        ):
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
