"""What other decoders than the package's say of an image file.

By the first bytes of the file, not by its name:

- JPEG: djpeg of libjpeg-turbo; any word on stderr is a complaint.
- PNG: the sums and lengths of all chunks, and that the inflated data is exactly what the header
  promises, checked here; and pngcheck.
- TIFF: tiffinfo, which decodes every strip; its errors, not its warnings of unknown tags.
- BMP: the length that the header promises, checked here.
- WebP: dwebp.
- All: OpenCV, which fails or whose libraries print warnings.

Programs that are not installed are not asked; `tools` names those that are.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import cv2
import numpy as np

PROGRAMS = ("djpeg", "pngcheck", "tiffinfo", "dwebp")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's type of colour


def tools() -> list[str]:
    """Name the decoders that are asked here."""
    return [f"OpenCV {cv2.__version__}", *(name for name in PROGRAMS if shutil.which(name))]


def complaint(path: Path) -> str | None:
    """Return what some decoder says against a file; ``None`` where none does.

    Args:
        path: an image in one of the formats above, or what was one.
    """
    data = path.read_bytes()
    if data[:2] == b"\xff\xd8":
        said = _said("djpeg", "-outfile", os.devnull, str(path))
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        said = _png(data) or _said("pngcheck", "-q", str(path))
    elif data[:4] in (b"II*\0", b"MM\0*"):
        said = _said("tiffinfo", "-D", "-d", str(path))
    elif data[:2] == b"BM":
        said = _bmp(data)
    elif data[:4] == b"RIFF":
        said = _said("dwebp", str(path), "-o", os.devnull)
    else:
        said = None
    return said or _opencv(data)


def _said(program: str, *words: str) -> str | None:
    if shutil.which(program) is None:
        return None
    done = subprocess.run([program, *words], capture_output=True, timeout=60)
    text = done.stderr.decode(errors="replace")
    if program == "dwebp":
        text = ""  # it tells what it decoded there
    if program == "tiffinfo":
        text = "\n".join(line for line in text.splitlines() if "Warning" not in line)
    if program == "pngcheck":
        text += done.stdout.decode(errors="replace") if done.returncode else ""
    if not text and not done.returncode:
        return None
    return f"{program}: {' '.join(text.split())[:160] or done.returncode}"


def _png(data: bytes) -> str | None:
    place, packed, size, ended = 8, b"", 0, False
    while place < len(data) and not ended:
        if place + 12 > len(data):
            return "png: cut inside a chunk"
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(data):
            return "png: cut inside a chunk"
        if struct.unpack_from(">I", data, end)[0] != zlib.crc32(data[place + 4 : end]):
            return f"png: wrong sum of {kind!r}"
        if kind == b"IHDR":
            width, height, bits, colour = struct.unpack_from(">IIBB", data, place + 8)
            if colour not in _CHANNELS or data[place + 20]:
                return "png: no such type of colour, or interlaced"
            size = height * (1 + (width * bits * _CHANNELS[colour] + 7) // 8)
        packed += data[place + 8 : end] if kind == b"IDAT" else b""
        ended, place = kind == b"IEND", end + 4
    if not ended:
        return "png: no end"
    inflated = zlib.decompressobj()
    try:
        found = len(inflated.decompress(packed, size + 1))
    except zlib.error as error:
        return f"png: {error}"
    if found != size or not inflated.eof:
        return f"png: the header promises {size} bytes, the data holds {found}"
    return None


def _bmp(data: bytes) -> str | None:
    if len(data) < 54:
        return "bmp: cut inside the header"
    start, _, width, height, _, bits, packing = struct.unpack_from("<IIiiHHI", data, 10)
    wanted = start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    if packing == 0 and len(data) < wanted:
        return f"bmp: the header promises {wanted} bytes, the file has {len(data)}"
    return None


@contextmanager
def stderr_kept() -> Iterator[IO[bytes]]:
    """Let what libraries print to stderr go into a file instead."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _opencv(data: bytes) -> str | None:
    with stderr_kept() as file:
        try:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            decoded = None
        file.seek(0)
        text = " ".join(file.read().decode(errors="replace").split())
    if decoded is None:
        return f"OpenCV: not decoded {text[:160]}"
    return f"OpenCV: {text[:160]}" if text else None
