"""Files of all kinds that a folder of smears may hold, from one good picture."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def encoded(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)
    return start + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"


def write_good(folder: Path, picture: Image.Image) -> None:
    """Files that all show the picture, as it is or nearly so."""
    folder.mkdir()
    picture.save(folder / "plain.png")
    picture.save(folder / "Größe 細胞 (1).png")
    wide = np.asarray(picture)[..., ::-1].astype(np.uint16) * 257
    cv2.imwrite(str(folder / "sixteen.png"), wide)
    cv2.imwrite(str(folder / "sixteen.tiff"), wide)
    picture.convert("CMYK").save(folder / "inks.tif")
    picture.save(folder / "one_frame.gif")
    picture.save(folder / "picture.webp", lossless=True)
    picture.save(folder / "picture.bmp")


def write_bad(folder: Path, picture: Image.Image) -> dict[str, str]:
    """Files that cannot be judged, and what is to be said of each."""
    folder.mkdir()
    frames = [picture.rotate(90)]
    files = {
        "animated.gif": (encoded(picture, "GIF", save_all=True, append_images=frames), "2 frames"),
        "blank.png": (encoded(Image.new("RGB", (64, 64), "white"), "PNG"), "shows no cell"),
        "corrupt.jpg": (encoded(picture, "JPEG")[:-200], "truncated"),
        "empty.jpg": (b"", "empty file (0 bytes)"),
        "huge.png": (png_header(20_000, 20_000), "more than 100 million pixels"),
        "one_pixel.png": (encoded(Image.new("RGB", (1, 1), "white"), "PNG"), "shows no cell"),
        "text.jpg": (b"file,label\n", "no image of a known format"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    return {name: reason for name, (_, reason) in files.items()}
