"""Read image files and decode them, several at once; a damaged one is a `BadImage`."""

import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from leukemia.text import visible

_CHUNK: Final = 1 << 20  # bytes that are inflated at once
_COMPRESSION, _JPEG, _TABLES = 259, 7, 347  # tags of TIFF, and a value
_STRIPS, _TILES = (273, 279), (324, 325)  # where they begin, and how long they are
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's type of colour
# Each pass of an interlaced PNG: its first column and row, and its steps across and down.
_ADAM7: Final = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def find_damage(form: str | None, data: bytes, tags: Mapping[int, Any] | None = None) -> str | None:
    """Return what is wrong with a file that Pillow has decoded, or ``None``.

    JPEG: libjpeg mends what it can and only warns, which Pillow ignores. The file is decoded once
    more, at an eighth of its size, by a reader that takes a warning of libjpeg for an error (0.15
    ms for an image of 224 x 224, a third of what Pillow takes). Colours that are sampled
    in a way which that reader does not know are refused, as they cannot be checked.

    TIFF: the same, where its strips or tiles are JPEGs; and the order of its directory, which the
    format prescribes, and of which libtiff warns.

    PNG: the CRC of every chunk, and whether the data are exactly as many as the header says, with
    the right checksum. Bytes behind the last chunk are no part of the picture and allowed.

    What cannot be found: bits that were flipped in JPEG's compressed data and decode to other
    pixels without a contradiction, or in its tables of quantisation; scans of a progressive JPEG
    that are missing at its end; and flipped bits in formats that keep no checksum (BMP, PPM,
    WebP, GIF, most TIFFs), as long as their decoders accept them. Damaged EXIF data are not told,
    for they are no pixels. Of 1,000 damaged JPEGs of Aria et al. (flipped bits, zeroed runs, cut,
    cut and closed, edited headers: 200 each) Pillow alone accepts 720, and 225 pass here: OpenCV's
    decoder complains of none of them, and 143 show other pixels.

    Args:
        form: Pillow's name of the format.
        data: the content of the file.
        tags: of a TIFF.
    """
    if form in ("JPEG", "MPO"):
        return _jpeg_fault(data)
    if form == "TIFF":
        jpeg = tags is not None and tags.get(_COMPRESSION) == _JPEG
        return _directory_fault(data) or (_tiff_fault(data, tags or {}) if jpeg else None)
    return _png_fault(data) if form == "PNG" else None


def _directory_fault(data: bytes) -> str | None:
    order = "<" if data[:2] == b"II" else ">"
    version, start = struct.unpack_from(f"{order}HI", data, 2)
    if version != 42:  # BigTIFF
        return None
    (entries,) = struct.unpack_from(f"{order}H", data, start)
    places = range(start + 2, start + 2 + 12 * entries, 12)
    tags = [struct.unpack_from(f"{order}H", data, place)[0] for place in places]
    return None if tags == sorted(set(tags)) else "the entries of its directory are out of order"


def _tiff_fault(data: bytes, tags: Mapping[int, Any]) -> str | None:
    tables: bytes = tags.get(_TABLES, b"\xff\xd8\xff\xd9")
    for starts, sizes in (_STRIPS, _TILES):
        for start, size in zip(tags.get(starts, ()), tags.get(sizes, ()), strict=False):
            # What all parts share comes first, without its end, and then the part's own.
            if fault := _jpeg_fault(tables[:-2] + data[start + 2 : start + size]):
                return fault
    return None


def _jpeg_fault(data: bytes) -> str | None:
    try:
        inks = simplejpeg.decode_jpeg_header(data)[2] in ("CMYK", "YCCK")
        simplejpeg.decode_jpeg(
            data, "CMYK" if inks else "GRAY", min_height=1, min_width=1, strict=True
        )
    except ValueError as error:
        if "subsampling" in str(error):
            return "its colours are sampled in a way that cannot be checked: save it again"
        return f"damaged: {' '.join(str(error).split())}"
    return None


def _png_fault(data: bytes) -> str | None:
    header, parts, position = b"", [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            return "truncated: its last chunk is cut"
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return f"damaged: the checksum of its chunk {kind!r} is wrong"
        body = data[position + 8 : end - 4]
        header = body if kind == b"IHDR" else header
        if kind == b"IDAT":
            parts.append(body)
        if kind == b"IEND":
            return _png_data_fault(header, parts)
        position = end
    return "truncated: its last chunk is missing"


def _png_data_fault(header: bytes, parts: list[bytes]) -> str | None:
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS[colour]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    wanted = sum(
        -(-(height - top) // down) * (1 + -(-(-(-(width - left) // across) * bits) // 8))
        for left, top, across, down in passes
        if width > left and height > top
    )
    inflater = zlib.decompressobj()
    try:
        held = _inflated(inflater, parts, wanted)
    except zlib.error as error:
        return f"damaged: {error}"
    if held != wanted:
        which = "more" if held > wanted else "fewer"
        return f"damaged: it holds {which} data than its header says"
    return None if inflater.eof else "truncated: its data lack their checksum"


def _inflated(inflater: "zlib._Decompress", parts: list[bytes], enough: int) -> int:
    """Return how many bytes come out of all parts, counted until they are more than enough."""
    held = 0
    for part in parts:
        left, out = part, b"-"
        while left or out:
            if inflater.eof:
                if left:  # data behind the end of the stream
                    return enough + 1
                break
            out = inflater.decompress(left, _CHUNK)
            held += len(out)
            if held > enough:
                return held
            left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    return held


MAX_PIXELS: Final = 100_000_000
"""Headers that promise more than this are taken for damage or an attack."""

MAX_BYTES: Final = 8 * MAX_PIXELS
"""Of a file: what so many pixels take uncompressed, with four channels of 16 bits."""

FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
"""What is decoded. Of Pillow's other readers, EPS starts a program, and JPEG 2000 takes some
truncated files for whole ones."""

SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff"),
    *(".bmp", ".dib", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Of the files in a folder, those that should be images of `FORMATS`."""

NO_MEMORY: Final = "too large for the memory that is free"
_BITS_PER_SAMPLE: Final = 258  # a tag of TIFF
_DARKEST: Final = 16  # 12 bits in 16 leave no brighter value in the upper byte than 15


class BadImage(Exception):
    """A file that cannot be used as an image; its text is the reason."""


def unexpected(error: Exception) -> BadImage:
    """Return an error that nobody thought of as what is wrong with a file."""
    if isinstance(error, MemoryError):
        return BadImage(NO_MEMORY)
    text = " ".join(str(error).split())
    return BadImage(f"cannot be used: {type(error).__name__}{text and f' ({text})'}")


def name_some(items: Sequence[str], limit: int = 20) -> str:
    """Return the first ``limit`` items on one line as `visible` shows them, and how many more."""
    rest = len(items) - limit
    return "; ".join(map(visible, items[:limit])) + (f"; and {rest} more" if rest > 0 else "")


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read a file as `decode_image` does.

    Args:
        path: the file.

    Returns:
        RGB, (H, W, 3), in [0, 255].

    Raises:
        BadImage: the file cannot be read or decoded.
    """
    return decode_image(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file that is not empty, and of at most `MAX_BYTES`.

    Raises:
        BadImage: it is none.
    """
    try:
        # A pipe would block for ever.
        if path.exists() and not path.is_file():
            raise BadImage("no regular file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadImage(
                f"too large: {size:,} bytes, and {MAX_PIXELS:,} pixels, the most that are read, "
                f"take at most {MAX_BYTES:,}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise BadImage(NO_MEMORY) from error
    if not data:
        raise BadImage("empty file (0 bytes)")
    return data


def decode_image(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode one picture to 8-bit RGB, upright by its EXIF orientation.

    Grey, palette and CMYK are converted, transparency is laid on white, and 16 bits keep their
    upper byte. Colour profiles are not applied. On the JPEGs of Aria et al. the pixels equal
    those of OpenCV, by which the published masks were made, to the last bit.

    Args:
        data: the content of a file in one of `FORMATS`.

    Returns:
        RGB, (H, W, 3), in [0, 255].

    Raises:
        BadImage: no image, a truncated or damaged one (see also `find_damage`), several frames,
            more than `MAX_PIXELS` pixels, or values of no known range in 8 bits (12 bits in the
            place of 16, for one).
    """
    known = ", ".join(FORMATS)
    too_large = f"its header promises more than {MAX_PIXELS // 1_000_000} million pixels"
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(too_large)
            # A camera's MPO is a JPEG with a preview behind the picture, no animation.
            if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
                raise BadImage(f"{frames} frames: animated or of several pages")
            # 16 bits without a sign have modes of their own; nothing tells the range of others.
            if image.format == "TIFF" and image.mode == "I":
                raise BadImage("32-bit or signed values: save it with 8 or 16 bits")
            deep = _is_deep(image, data)
            image.load()
            if damage := find_damage(image.format, data, getattr(image, "tag_v2", None)):
                raise BadImage(damage)
            rgb = np.array(_to_rgb(ImageOps.exif_transpose(image)))
            if deep and rgb.max() < _DARKEST:
                raise BadImage(
                    f"no value above {_DARKEST * 256 - 1} of 65535, as from a 12-bit camera: "
                    f"stretch it to 16 bits, or save it with 8"
                )
            return rgb
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(f"truncated, or no image of a known format ({known})") from error
    except Image.DecompressionBombError as error:
        raise BadImage(too_large) from error
    except MemoryError as error:
        raise BadImage(NO_MEMORY) from error
    # Damaged files make the decoders raise nearly anything: OSError, SyntaxError, struct.error...
    except Exception as error:
        raise BadImage(f"damaged: {' '.join(str(error).split())}") from error


def from_pil(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return an image of Pillow's as `decode_image` would: RGB, (H, W, 3), in [0, 255], upright.

    Raises:
        BadImage: it cannot be decoded, or has values of no known range in 8 bits.
    """
    try:
        return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except OSError as error:
        raise BadImage(f"damaged: {' '.join(str(error).split())}") from error


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a file has more than 8 bits a channel; of colours Pillow keeps 8 and does not say."""
    if image.format == "TIFF":
        bits: tuple[int, ...] = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return max(bits) > 8
    if image.format == "PNG":
        return data[24] > 8
    return image.mode.startswith("I")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise BadImage("floating-point values: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        # PGM, and PNG before Pillow 11, have their 16 bits in the 32 of mode "I".
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int = 128,
) -> Iterator[Result]:
    """Yield what a function makes of each item, in their order, while threads work ahead.

    Args:
        work: is called in the threads; what it raises is raised here.
        items: are taken from this thread.
        workers: threads; ``None`` for one a core.
        ahead: results that may wait to be taken.
    """
    # OpenCV and Pillow leave Python's lock while they work; OpenCV's own threads would fight
    # with these.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)
