"""Find the images of a dataset and decode them."""

import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.text import visible

MAX_PIXELS: Final = 100_000_000
"""Headers that promise more than this are taken for damage or an attack."""

FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
"""What is decoded. Of Pillow's other readers, EPS starts a program, and JPEG 2000 takes some
truncated files for whole ones."""

_BITS_PER_SAMPLE: Final = 258  # a tag of TIFF
_DARKEST: Final = 16  # 12 bits in 16 leave no brighter value in the upper byte than 15
_NOTES: Final = {".txt", ".csv", ".md", ".json"}


class BadImage(Exception):
    """A file that cannot be used as an image; its text is the reason."""


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image.

    Args:
        path: relative to the dataset's folder, with forward slashes.
        label: index of its class.
    """

    path: str
    label: int


def name_some(items: Sequence[str], limit: int = 20) -> str:
    """Return the first ``limit`` items on one line as `visible` shows them, and how many more."""
    rest = len(items) - limit
    return "; ".join(map(visible, items[:limit])) + (f"; and {rest} more" if rest > 0 else "")


def list_images(root: Path, classes: Classes) -> list[ImageFile]:
    """List the files of a folder that holds one subfolder a class.

    Hidden entries are passed over, and so are notes (.txt, .csv, .md, .json) beside the class
    folders. Everything else in a class folder counts as an image, whatever its name.

    Args:
        root: the dataset's folder.
        classes: names and order of the class folders.

    Returns:
        The files, sorted by label and path.

    Raises:
        UserError: the folder cannot be read, or is not exactly one folder of files a class; all
            that is wrong is named at once.
    """
    try:
        if not root.is_dir():
            wrong = "is no folder" if root.exists() else "does not exist"
            raise UserError(
                f"data.root '{root}' {wrong}: "
                f"set data.root to a folder with one subfolder a class {list(classes.names)}."
            )
        beside = _visible(root)
        folders = {entry.name for entry in beside if entry.is_dir()}
        # Compared by listed name: on some systems (root / "early").is_dir() finds "Early" too.
        inside = {name: _visible(root / name) for name in classes.names if name in folders}
        problems = (
            _wrong_folders(folders, classes)
            + [f"class folder '{name}' is empty" for name, files in inside.items() if not files]
            + [
                f"'{name}/{entry.name}' is a folder inside a class folder"
                for name, files in inside.items()
                for entry in files
                if entry.is_dir()
            ]
            + [
                f"file '{entry.name}' lies beside the class folders"
                for entry in beside
                if not entry.is_dir() and entry.suffix.lower() not in _NOTES
            ]
        )
    except OSError as error:
        raise UserError(f"data.root '{root}' cannot be read: {error}.") from error
    if not inside and "Original" in folders:
        raise UserError(
            f"data.root '{root}' holds the whole download, with the class folders one level "
            f"down: use data.root={root / 'Original'}."
        )
    if problems:
        raise UserError(
            f"data.root '{root}' is not one folder of images for each class of "
            f"{list(classes.names)}: {name_some(problems)}. Rename or move what is named here, "
            f"or set data.classes.names to the folders that are there."
        )
    return [
        ImageFile(f"{name}/{entry.name}", label)
        for label, name in enumerate(classes.names)
        for entry in inside[name]
    ]


def _visible(folder: Path) -> list[Path]:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    for entry in entries:
        if not _is_text(entry.name):
            raise UserError(f"The name {entry.name!a} in '{folder}' is not valid UTF-8: rename it.")
    return sorted(entries, key=lambda entry: entry.name)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong_folders(folders: set[str], classes: Classes) -> list[str]:
    missing = [name for name in classes.names if name not in folders]
    extra = sorted(folders - set(classes.names))
    problems = []
    # Equal but for case first, so that 'pro' is never taken for a misspelt 'Pre'.
    for cutoff in (1.0, 0.6):
        for name in list(missing):
            spelt = {folder.strip().casefold(): folder for folder in extra}
            close = difflib.get_close_matches(name.casefold(), spelt, n=1, cutoff=cutoff)
            if close:
                folder = spelt[close[0]]
                problems.append(f"folder '{folder}' should be called '{name}'")
                missing.remove(name)
                extra.remove(folder)
    problems += [f"class folder '{name}' is missing" for name in missing]
    return problems + [f"folder '{name}' is no class" for name in extra]


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
    """Return the content of a regular file that is not empty.

    Raises:
        BadImage: it is none.
    """
    try:
        # A pipe would block for ever.
        if path.exists() and not path.is_file():
            raise BadImage("no regular file")
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from error
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
        BadImage: no image, a truncated or damaged one, several frames, more than `MAX_PIXELS`
            pixels, or values of no known range in 8 bits (12 bits in the place of 16, for one).
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
