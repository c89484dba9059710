"""Damaged files are bad files: whatever a decoder complains of is listed, and not judged."""

import io
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from leukemia.classes import Classes
from leukemia.data.files import images as module
from leukemia.data.files.images import BadImage, decode_image, find_damage, read_bytes, read_image
from leukemia.data.files.manifest import build_manifest
from leukemia.data.image.preprocess import LARGEST, Preprocess
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError
from tests.damage import many, png, png_chunk
from tests.odd_files import encoded

PICTURE = Image.effect_noise((150, 101), 60).convert("RGB")
FORMS = {
    "plain": {},
    "progressive": {"progressive": True},
    "with restarts": {"restart_marker_blocks": 3},
    "in RGB": {"keep_rgb": True},
    "4:2:2": {"subsampling": 1},
}


@pytest.fixture(scope="session")
def painted(tmp_path_factory) -> list[bytes]:
    folder = paint_smears(tmp_path_factory.mktemp("painted") / "a", per_class=2)
    return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]


def refused(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", [*FORMS, "grey", "inks"])
def test_a_jpeg_that_was_cut_and_closed_again_is_damaged(form):
    picture = PICTURE.convert({"grey": "L", "inks": "CMYK"}.get(form, "RGB"))
    whole = encoded(picture, "JPEG", **FORMS.get(form, {}))
    assert decode_image(whole).shape == (101, 150, 3)
    assert "damaged: " in refused(whole[: len(whole) * 2 // 3] + b"\xff\xd9")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_tiff_of_damaged_jpegs_is_damaged(mode):
    picture = PICTURE.convert(mode).resize((300, 400))
    whole = encoded(picture, "TIFF", compression="jpeg")
    assert decode_image(whole).shape == (400, 300, 3)
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 300] = bytes(300)
    assert "damaged: " in refused(bytes(damaged))


def test_a_tiff_whose_directory_is_out_of_order_is_damaged():
    out = io.BytesIO()
    Image.new("RGB", (9, 5), "pink").save(out, "TIFF")
    data = bytearray(out.getvalue())
    decode_image(bytes(data))
    (start,) = struct.unpack_from("<I", data, 4)
    first, second = start + 2, start + 14  # two entries of 12 bytes change places
    data[first:second], data[second : second + 12] = data[second : second + 12], data[first:second]
    with pytest.raises(BadImage, match="out of order"):
        decode_image(bytes(data))


def test_bytes_behind_a_jpeg_or_a_png_do_no_harm():
    for form in ("JPEG", "PNG"):
        whole = encoded(PICTURE, form)
        np.testing.assert_array_equal(decode_image(whole + bytes(99)), decode_image(whole))


ROWS = b"".join(b"\0" + bytes([row]) * 12 for row in range(5))  # 4 pixels each


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (png(4, 4, ROWS), "more data than its header says"),
        (png(4, 3, ROWS + b"x"), "more data than its header says"),
        (png(3, 5, ROWS), "more data than its header says"),
        (png(4, 5, ROWS, after=b"x"), "more data than its header says"),
        (png(4, 5, ROWS)[:-12] + png_chunk(b"IDAT", b"x") + png_chunk(b"IEND", b""), "more data"),
        (png(4, 5, ROWS)[:-12], "truncated"),
        (png(4, 5, ROWS)[:-13] + b"x" + png_chunk(b"IEND", b""), "checksum of its chunk b'IDAT'"),
        (png(4, 5, ROWS)[:-12] + png_chunk(b"tEXt", b"a\0b")[:-1] + b"x", "chunk b'tEXt'"),
    ],
)
def test_a_png_whose_chunks_or_header_disagree_with_its_data_is_damaged(data, told):
    assert decode_image(png(4, 5, ROWS))[4, 3].tolist() == [4, 4, 4]
    assert told in refused(data)


def test_a_png_with_fewer_rows_than_its_header_says_is_damaged():
    assert (
        find_damage("PNG", png(4, 6, ROWS)) == "damaged: it holds fewer data than its header says"
    )
    refused(png(4, 6, ROWS))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 2), (33, 20)])
def test_whole_pngs_of_every_kind_pass(mode, size):
    grey = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    picture = deep if mode == "I;16" else Image.fromarray(grey).convert(mode)
    assert find_damage("PNG", encoded(picture, "PNG")) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 1), (2, 9), (40, 31)])
def test_a_whole_interlaced_png_passes(size):
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [pixels[top::down, left::across] for left, top, across, down in steps]
    rows = [b"\0" + row.tobytes() for one in (*passes, pixels[1::2]) if one.size for row in one]
    data = png(width, height, b"".join(rows), interlaced=1)
    np.testing.assert_array_equal(decode_image(data), pixels)
    assert "fewer" in str(find_damage("PNG", png(width, height, b"".join(rows[:-1]), interlaced=1)))


def complains(data: bytes, capfd) -> bool:
    """Whether OpenCV's decoders, which are others than those that are tested, find a fault."""
    capfd.readouterr()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return pixels is None or bool(capfd.readouterr().err)


def check_many(files: list[bytes], number: int, capfd) -> tuple[int, int]:
    """Return how many damaged files are refused, and how many accepted."""
    refusals = accepted = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, data in many(files, number, seed=0):
            try:
                decode_image(data)
            except BadImage:
                refusals += 1
                continue
            accepted += 1
            assert not complains(data, capfd), kind
    return refusals, accepted


def pngs(files: list[bytes]) -> list[bytes]:
    return [encoded(Image.fromarray(decode_image(data)), "PNG") for data in files]


def test_no_damaged_file_is_accepted_that_another_decoder_complains_of(painted, capfd):
    assert complains(painted[0][:9000] + b"\xff\xd9", capfd)
    assert not complains(painted[0], capfd)
    refusals, accepted = check_many(painted, 100, capfd)
    assert refusals > 60
    assert refusals + accepted == 100
    refusals, _ = check_many(pngs(painted[:2]), 100, capfd)
    assert refusals > 95


@pytest.mark.slow
def test_no_damaged_real_image_is_accepted_that_another_decoder_complains_of(aria, painted, capfd):
    real = [path.read_bytes() for path in sorted(aria.rglob("*.jpg"))[::26]]
    counts = [check_many(files, 1000, capfd) for files in (real, painted, pngs(real[:20]))]
    with capfd.disabled():
        print("\ndamaged files refused, accepted (real, painted, PNG), seed 0:", counts)
    assert min(refusals for refusals, _ in counts) > 600


def test_all_real_images_are_intact(aria):
    forms = [(path, read_bytes(path)) for path in sorted(aria.rglob("*.jpg"))]
    assert len(forms) == 2604
    assert [str(path) for path, data in forms if find_damage("JPEG", data)] == []


def test_a_damaged_jpeg_is_listed_in_training(tmp_path, painted):
    for number, data in enumerate(painted):
        path = tmp_path / Classes().names[number // 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    path.write_bytes(data[:9000] + b"\xff\xd9")
    with pytest.raises(UserError, match=r"1 of 8 files .*Pro/7\.jpg \(damaged: "):
        build_manifest(tmp_path, Classes())
    assert len(build_manifest(tmp_path, Classes(), on_bad="skip")) == 7


# Limits -----------------------------------------------------------------------------------


def test_a_file_of_more_bytes_than_any_image_has_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "sparse.tif"
    with path.open("wb") as file:
        file.truncate(6_000_000_000)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("was read"))
    with pytest.raises(BadImage, match=r"too large: 6,000,000,000 bytes.*at most 800,000,000"):
        read_image(path)


@pytest.mark.parametrize("where", ["read_bytes", "load"])
def test_an_image_for_which_memory_is_short_is_a_bad_file(tmp_path, monkeypatch, where):
    path = tmp_path / "a.png"
    PICTURE.save(path)

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(*((Path, where) if where == "read_bytes" else (module.Image, "open")), fail)
    with pytest.raises(BadImage, match="too large for the memory"):
        read_image(path)


def test_a_size_that_fits_no_memory_is_refused_with_the_largest():
    assert Preprocess(size=LARGEST).size == 2048
    with pytest.raises(UserError, match=r"crop\.size to be at most 2048 .*100000"):
        Preprocess(size=100_000)
