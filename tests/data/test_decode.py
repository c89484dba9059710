"""Decoding: every file becomes RGB in 8 bits or is refused with its reason."""

import os
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from leukemia.data.files.images import BadImage, decode_image, read_image
from tests.odd_files import encoded, png_header


def picture(width: int = 40, height: int = 24) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height)))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "PPM"])
def test_rgb_is_read_as_it_was_written_and_may_be_written_to(form, tmp_path):
    path = tmp_path / "größe 細胞"
    path.write_bytes(encoded(picture(), form))
    image = read_image(path)
    np.testing.assert_array_equal(image, picture())
    assert image.dtype == np.uint8
    image[:] = 0


def test_grey_is_repeated_in_three_channels():
    grey = np.array([[0, 7, 255]], dtype=np.uint8)
    expected = [[[0, 0, 0], [7, 7, 7], [255, 255, 255]]]
    assert decode_image(encoded(grey, "PNG")).tolist() == expected


def test_black_and_white_spans_the_range():
    image = Image.fromarray(np.array([[False, True]]))
    assert image.mode == "1"
    assert decode_image(encoded(image, "PNG")).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_a_palette_is_looked_up():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    assert decode_image(encoded(image, "PNG")).tolist() == [[[200, 100, 50], [10, 20, 30]]]
    assert decode_image(encoded(image, "GIF")).tolist() == [[[200, 100, 50], [10, 20, 30]]]


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("RGBA", (255, 0, 0, 255), [255, 0, 0]),
        ("RGBA", (255, 0, 0, 0), [255, 255, 255]),
        ("RGBA", (255, 0, 0, 128), [255, 127, 127]),
        ("LA", (0, 51), [204, 204, 204]),
    ],
)
def test_transparency_is_laid_on_white(mode, pixel, expected):
    data = encoded(Image.new(mode, (1, 1), pixel), "PNG")
    assert decode_image(data).tolist() == [[expected]]


def test_a_transparent_palette_colour_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    data = encoded(image, "PNG", transparency=0)
    assert decode_image(data).tolist() == [[[255, 255, 255], [200, 100, 50]]]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_are_scaled_to_8(suffix):
    # Written by OpenCV, an encoder of its own. 257 is 1/255 of 65535.
    grey = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    expected = [0, 1, 128, 255]
    data = cv2.imencode(suffix, grey)[1].tobytes()
    assert decode_image(data)[0].tolist() == [[value] * 3 for value in expected]
    pgm = b"P5 4 1 65535\n" + grey.astype(">u2").tobytes()
    assert decode_image(pgm)[0, :, 0].tolist() == expected
    colour = cv2.merge([grey, grey[:, ::-1], grey * 0])  # blue, green, red
    data = cv2.imencode(suffix, colour)[1].tobytes()
    assert decode_image(data)[0].tolist() == [[0, 255, 0], [0, 128, 1], [0, 1, 128], [0, 0, 255]]


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_inks_become_colours(cmyk, rgb, form):
    image = decode_image(encoded(Image.new("CMYK", (16, 16), cmyk), form))
    assert image.shape == (16, 16, 3)
    assert np.abs(image.astype(int) - rgb).max() <= 2


def test_a_picture_is_turned_upright_by_its_exif():
    red_left_blue_right = Image.new("RGB", (32, 16), (255, 0, 0))
    red_left_blue_right.paste((0, 0, 255), (16, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned clockwise by a quarter
    image = decode_image(encoded(red_left_blue_right, "JPEG", exif=exif, subsampling=0))
    assert image.shape == (32, 16, 3)
    assert image[4, 8, 0] > 200 > 50 > image[4, 8, 2]
    assert image[28, 8, 2] > 200 > 50 > image[28, 8, 0]


def test_the_main_picture_of_a_camera_mpo_is_taken():
    preview = Image.new("RGB", (8, 8))
    data = encoded(picture(), "MPO", save_all=True, append_images=[preview], quality=100)
    assert decode_image(data).shape == (24, 40, 3)


FORMS = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {}),
    "gif": ("GIF", {}),
    "ppm": ("PPM", {}),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.filterwarnings("ignore:Truncated:UserWarning", "ignore:Corrupt EXIF:UserWarning")
def test_a_truncated_file_is_refused_wherever_it_was_cut(name):
    form, options = FORMS[name]
    data = encoded(picture(), form, **options)
    whole = decode_image(data)
    refused = 0
    for length in range(1, len(data), 7):
        try:
            # All pixels may be there although the trailer is not.
            np.testing.assert_array_equal(decode_image(data[:length]), whole)
        except BadImage:
            refused += 1
    assert refused > 0.95 * len(range(1, len(data), 7))


BAD = {
    "a text": (b"file,label\na.png,Early\n", "no image"),
    "noise": (bytes(range(256)) * 4, "no image"),
    "an unknown format": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    "a truncated jpeg": (encoded(picture(), "JPEG")[:-200], "truncated"),
    "an animation": (
        encoded(picture(), "GIF", save_all=True, append_images=[Image.fromarray(picture()[::-1])]),
        "2 frames",
    ),
    "an animated png": (
        encoded(picture(), "PNG", save_all=True, append_images=[Image.fromarray(picture()[::-1])]),
        "2 frames",
    ),
    "a stack": (
        encoded(picture(), "TIFF", save_all=True, append_images=[Image.fromarray(picture())] * 2),
        "3 frames",
    ),
    "a large header": (png_header(11_000, 10_000), "more than 100 million pixels"),
    "a huge header": (png_header(2**30, 2**30), "more than 100 million pixels"),
    "floats": (encoded(Image.new("F", (2, 2), 0.5), "TIFF"), "floating-point"),
    "32 bits": (encoded(Image.new("I", (2, 2), 70_000), "TIFF"), "32-bit"),
    "8 bits in 32": (encoded(Image.new("I", (2, 2), 200), "TIFF"), "32-bit"),
    **{
        f"12 bits {name}": (cv2.imencode(suffix, values)[1].tobytes(), "12-bit camera")
        for name, suffix, values in (
            ("grey tiff", ".tiff", np.full((4, 4), 4095, np.uint16)),
            ("grey png", ".png", np.full((4, 4), 4095, np.uint16)),
            ("colour tiff", ".tiff", np.full((4, 4, 3), 4095, np.uint16)),
            ("colour png", ".png", np.full((4, 4, 3), 4095, np.uint16)),
        )
    },
    "12 bits pgm": (b"P5 1 1 65535\n\x0f\xff", "12-bit camera"),
    "negative values": (encoded(Image.new("I", (2, 2), -1), "TIFF"), "32-bit"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_whole_image_is_refused_with_its_reason(name, tmp_path):
    data, reason = BAD[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(BadImage) as caught:
        read_image(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_zero_bytes_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(BadImage, match=r"empty file \(0 bytes\)"):
        read_image(tmp_path / "a.png")


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadImage, match="cannot be read: No such file"):
        read_image(tmp_path / "link.png")
    with pytest.raises(BadImage, match="no regular file"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(BadImage, match="no regular file"):
        read_image(tmp_path)


def test_damage_never_raises_anything_but_bad_image():
    rng = np.random.default_rng(0)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for form, options in FORMS.values():
            data = np.frombuffer(encoded(picture(), form, **options), np.uint8)
            for _ in range(60):
                damaged = data.copy()
                damaged[rng.integers(len(data), size=8)] = rng.integers(256, size=8)
                try:
                    assert decode_image(damaged.tobytes()).shape[2] == 3
                except BadImage:
                    refused += 1
    assert refused > 100


def test_pixels_of_the_real_jpegs_equal_those_of_opencv(aria):
    # The published masks were computed from OpenCV's pixels.
    files = sorted(aria.rglob("*.jpg"))[::20]
    assert len(files) == 131
    for file in files:
        expected = cv2.imread(str(file))[..., ::-1]
        np.testing.assert_array_equal(read_image(file), expected, err_msg=str(file))
