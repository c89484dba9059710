"""Damaged image files: what `predict` and training make of them, and what other decoders say."""

import io
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from campaign.record import FAILED, OK, Case, Part
from campaign.reference import complaint, stderr_kept, tools
from campaign.warm import Command, run, side_by_side
from leukemia.data.files.images import BadImage, read_image

BATCH = 100  # files a command

Rng = np.random.Generator
ENCODED: dict[str, tuple[str, dict[str, object]]] = {
    "jpg": ("JPEG", {"quality": 90}),
    "progressive.jpg": ("JPEG", {"quality": 85, "progressive": True}),
    "png": ("PNG", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate.tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tif": ("TIFF", {}),
    "bmp": ("BMP", {}),
    "webp": ("WEBP", {"quality": 85}),
    "lossless.webp": ("WEBP", {"lossless": True}),
}
# JPEG is what smears come in, and what damage shows least in.
_OFTEN = ["jpg"] * 6 + ["progressive.jpg"] * 2 + ["png"] * 4 + list(ENCODED)[3:]


@dataclass(frozen=True)
class Damaged:
    """A file that something happened to.

    Args:
        name: of the file.
        kind: what happened.
        data: its bytes.
        sound: the bytes before.
    """

    name: str
    kind: str
    data: bytes
    sound: bytes


def flipped(data: bytes, rng: Rng) -> bytes:
    """Flip 1 to 32 bits anywhere."""
    out = bytearray(data)
    for place in rng.integers(0, len(out) * 8, int(rng.integers(1, 33))):
        out[place // 8] ^= 1 << int(place % 8)
    return bytes(out)


def zeroed(data: bytes, rng: Rng) -> bytes:
    """Zero a run of 16 to 4,096 bytes, as a lost block of a disk."""
    length = min(int(2 ** rng.uniform(4, 12)), len(data) // 2)
    start = int(rng.integers(0, len(data) - length))
    return data[:start] + bytes(length) + data[start + length :]


def cut(data: bytes, rng: Rng) -> bytes:
    """Cut the end off."""
    return data[: int(rng.integers(1, len(data)))]


def closed(data: bytes, rng: Rng) -> bytes:
    """Cut the end off and close the file as its format does, where that has an end."""
    kept = cut(data, rng)
    if data[:2] == b"\xff\xd8":
        return kept + b"\xff\xd9"
    if data[:4] == b"\x89PNG":
        return kept + b"\0\0\0\0IEND\xaeB`\x82"
    if data[:4] == b"RIFF":
        return kept[:4] + struct.pack("<I", max(len(kept) - 8, 0)) + kept[8:]
    return kept


def header(data: bytes, rng: Rng) -> bytes:
    """Change one to four bytes of the first 64."""
    out = bytearray(data)
    for place in rng.integers(0, min(64, len(out)), int(rng.integers(1, 5))):
        out[place] = int(rng.integers(0, 256))
    return bytes(out)


def disagreeing(data: bytes, rng: Rng) -> bytes:
    """Let the header tell another size (of a PNG also other bits or colours), its sums right."""
    out = bytearray(data)
    scale = float(rng.choice([0.5, 0.9, 1.1, 2.0]))
    if data[:4] == b"\x89PNG":
        place = int(rng.choice([16, 20, 24, 25]))
        if place < 24:
            (side,) = struct.unpack_from(">I", out, place)
            struct.pack_into(">I", out, place, max(1, int(side * scale)))
        else:
            out[place] = int(rng.choice([1, 16] if place == 24 else [0, 3, 4, 6]))
        struct.pack_into(">I", out, 29, zlib.crc32(out[12:29]))
    elif data[:2] == b"\xff\xd8":
        found = re.search(rb"\xff[\xc0\xc2]\x00\x11\x08", data)
        assert found is not None
        place = found.end() + int(rng.choice([0, 2]))
        (side,) = struct.unpack_from(">H", out, place)
        struct.pack_into(">H", out, place, max(1, int(side * scale)))
    elif data[:2] == b"BM":
        place = int(rng.choice([18, 22]))
        (side,) = struct.unpack_from("<i", out, place)
        struct.pack_into("<i", out, place, max(1, int(side * scale)))
    else:
        return header(data, rng)
    return bytes(out)


def spliced(data: bytes, rng: Rng, other: bytes) -> bytes:
    """Go on with another picture from a place in the middle."""
    place = int(rng.integers(len(data) // 8, len(data)))
    return data[:place] + other[min(place, len(other)) :]


KINDS: dict[str, Callable[[bytes, Rng], bytes]] = {
    "bits flipped": flipped,
    "zeroed": zeroed,
    "cut": cut,
    "cut and closed": closed,
    "header edited": header,
    "header disagrees": disagreeing,
}


def attack(home: Path, sound: Path, *, cases: int, seed: int, jobs: int) -> Part:
    """Judge damaged files with a finished run, and read them as training does.

    Args:
        home: an empty folder.
        sound: the folder of a finished run and its cache, see `campaign.scene`.
        cases: files.
        seed: of the draws.
        jobs: commands at a time.
    """
    files = list(damaged(_originals(sound), cases, np.random.default_rng([seed, 2])))
    batches = []
    for number, first in enumerate(range(0, len(files), BATCH)):
        batches.append((home / f"batch-{number}", files[first : first + BATCH]))
    found: list[Case] = []
    for judged in side_by_side(partial(_judge, sound), batches, jobs):
        found += judged
    found.sort(key=lambda case: case.case)
    return Part(
        "images",
        "judged or listed; judged only where no other decoder complains, in training as well",
        found,
        {
            "decoders that were asked": tools(),
            "what came of them": dict(Counter(case.happened.partition(":")[0] for case in found)),
            "from real images": bool(os.environ.get("LEUKEMIA_DATA")),
        },
    )


def damaged(originals: list[bytes], cases: int, rng: Rng) -> Iterator[Damaged]:
    """Yield damaged files, and among them some that are sound but for their suffix.

    Args:
        originals: pictures in any format.
        cases: how many.
        rng: draws all of it.
    """
    kinds = [*KINDS, *KINDS, "spliced", "swapped suffix"]
    for number in range(cases):
        suffix, kind = str(rng.choice(_OFTEN)), kinds[number % len(kinds)]
        first, second = (_encoded(originals, suffix, rng) for _ in range(2))
        name = f"{number:04d}.{suffix}"
        if kind == "spliced":
            data = spliced(first, rng, second)
        elif kind == "swapped suffix":
            data, others = first, [end for end in ("jpg", "png", "tif", "bmp") if end not in name]
            name = f"{number:04d}.{rng.choice(others)}"
        else:
            data = KINDS[kind](first, rng)
        yield Damaged(name, kind if data != first else "swapped suffix", data, first)


def _originals(sound: Path, at_most: int = 24) -> list[bytes]:
    """Return painted smears, and as many real images where LEUKEMIA_DATA names some."""
    folders = [next((sound / "cache").glob("synthetic-*"))]
    if real := os.environ.get("LEUKEMIA_DATA"):
        folders.append(Path(real))
    found = []
    for folder in folders:
        files = sorted(folder.glob("*/*.jpg"))
        found += [path.read_bytes() for path in files[:: max(1, len(files) // at_most)]]
    return found


def _encoded(originals: list[bytes], suffix: str, rng: Rng) -> bytes:
    original = originals[int(rng.integers(len(originals)))]
    if suffix == "jpg":
        return original
    form, options = ENCODED[suffix]
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(original)) as image:
        image.convert("RGB").save(buffer, form, **options)
    return buffer.getvalue()


def _judge(sound: Path, batch: tuple[Path, list[Damaged]]) -> list[Case]:
    """Write the files of a batch, and compare what is said of each."""
    folder, files = batch
    images = folder / "images"
    images.mkdir(parents=True)
    for file in files:
        (images / file.name).write_bytes(file.data)
    words = (f"run={sound / 'run'}", f"input={images}", f"output={folder / 'out.csv'}")
    ended = run(Command("predict", (*words, "runtime.progress=false"), folder, sound / "cache"))
    wrong = ended.complaint()
    table = folder / "out.csv"
    rows = table.read_text(encoding="utf-8").splitlines()[1:] if table.is_file() else []
    judged = {row.partition(",")[0] for row in rows}
    listed = dict(re.findall(r"^  (\d{4}\.[a-z.]+): (.*)$", ended.err, re.MULTILINE))
    return [
        Case(file.kind, file.name, file.kind, *_verdict(file, images, judged, listed, wrong))
        for file in files
    ]


def _verdict(
    file: Damaged, images: Path, judged: set[str], listed: dict[str, str], wrong: str | None
) -> tuple[str, str]:
    """Say what came of a file, and whether that is right."""
    path = images / file.name
    is_judged, reason = file.name in judged, listed.get(file.name)
    if wrong:
        return f"the command failed: {wrong}", FAILED
    if is_judged == (reason is not None):
        return "lost: neither judged nor listed, or both", FAILED
    trained = True
    with stderr_kept():
        try:
            read_image(path)
        except BadImage:
            trained = False
    said = complaint(path)
    if is_judged and said:
        return f"judged although a decoder complains: {said}", FAILED
    if trained != is_judged and "shows no cell" not in str(reason):
        return f"training and prediction disagree: {reason}", FAILED
    if is_judged:
        now, before = _pixels(file.data), _pixels(file.sound)
        same = now is not None and before is not None and np.array_equal(now, before)
        seen = "the same pixels" if same else "other pixels, which no decoder notices"
        return f"judged, {seen}", OK
    if file.kind == "swapped suffix":
        return f"listed although it is whole: {reason}", FAILED
    if said:
        return f"listed, and a decoder complains: {reason}", OK
    return f"listed, where no other decoder complains: {reason}", OK


def _pixels(data: bytes) -> NDArray[np.generic] | None:
    with stderr_kept():
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
