"""Read image files and decode them."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from leukemia.data.intact import find_damage
from leukemia.text import visible

MAX_PIXELS: Final = 100_000_000
"""Headers that promise more than this are taken for damage or an attack."""

MAX_BYTES: Final = 8 * MAX_PIXELS
"""Of a file: what so many pixels take uncompressed, with four channels of 16 bits."""

FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
"""What is decoded. Of Pillow's other readers, EPS starts a program, and JPEG 2000 takes some
truncated files for whole ones."""

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
