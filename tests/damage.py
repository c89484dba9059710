"""Damage to image files, at random from a seed: what disks, cables and programs do to them."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

KINDS = ("flipped bits", "zeroed run", "cut", "cut and closed", "edited header")


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Return a damaged copy of a file of 200 bytes or more.

    Args:
        data: a JPEG or PNG.
        kind: one of `KINDS`.
        rng: decides where.
    """
    raw = np.frombuffer(data, np.uint8).copy()
    at = int(rng.integers(100, len(raw) - 20))
    if kind == "flipped bits":
        where = rng.integers(20, len(raw), int(rng.integers(1, 9)))
        np.bitwise_xor.at(raw, where, (1 << rng.integers(0, 8, len(where))).astype(np.uint8))
    elif kind == "zeroed run":
        raw[at : at + int(rng.integers(1, 2000))] = 0
    elif kind == "cut":
        return data[:at]
    elif kind == "cut and closed":
        end = png_chunk(b"IEND", b"") if data[:4] == b"\x89PNG" else b"\xff\xd9"
        return data[:at] + end
    else:
        where = int(rng.integers(2, 600 if data[:2] == b"\xff\xd8" else 33))
        raw[where] = rng.integers(256)
    return raw.tobytes()


def many(files: list[bytes], number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many damaged copies, each with its kind, files and kinds in turn."""
    rng = np.random.default_rng(seed)
    for i in range(number):
        kind = KINDS[i % len(KINDS)]
        yield kind, damaged(files[int(rng.integers(len(files)))], kind, rng)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def png(width: int, height: int, rows: bytes, *, after: bytes = b"", interlaced: int = 0) -> bytes:
    """Return a PNG in RGB of a header, rows with their filters, and bytes behind their end."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows) + after), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
