from pathlib import Path

import cv2
import numpy as np
import pytest

from leukemia.data.files import read_image
from leukemia.data.mask import MaskSpec, apply_mask, stain_mask
from leukemia.errors import UserError

PUBLISHED = [
    f"{folder}/WBC-{prefix}{folder}-{number:03d}.jpg"
    for folder, prefix in [
        ("Benign", ""),
        ("Early", "Malignant-"),
        ("Pre", "Malignant-"),
        ("Pro", "Malignant-"),
    ]
    for number in range(6, 457, 50)
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_masks_are_reproduced(aria: Path, published: Path, name: str):
    # A published output is grey, and bright exactly where the paper's mask kept the pixel.
    theirs = cv2.imread(str(published / "masked" / name), cv2.IMREAD_GRAYSCALE) > 40
    ours = stain_mask(read_image(aria / name), MaskSpec())
    assert (ours & theirs).sum() / (ours | theirs).sum() >= 0.999


def test_every_published_mask_is_compared(published: Path):
    there = sorted(
        path.relative_to(published / "masked").as_posix()
        for path in (published / "masked").rglob("*.jpg")
    )
    assert there == sorted(PUBLISHED)


@pytest.mark.parametrize(
    ("rgb", "in_published", "in_lab"),
    [
        ((255, 255, 255), False, False),
        ((0, 0, 0), False, False),
        # In 8-bit LAB (123, 176, 72), outside all three; swapped (138, 183, 122), in the blue.
        ((142, 85, 210), True, False),
        ((210, 85, 142), False, True),
    ],
)
def test_the_two_orders_of_channels_keep_different_colours(rgb, in_published, in_lab):
    pixel = np.array([[rgb]], dtype=np.uint8)
    assert stain_mask(pixel, MaskSpec("published")).tolist() == [[in_published]]
    assert stain_mask(pixel, MaskSpec("lab")).tolist() == [[in_lab]]


def test_published_is_lab_with_red_and_blue_swapped():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    swapped = np.ascontiguousarray(rgb[..., ::-1])
    published = stain_mask(rgb, MaskSpec("published"))
    assert 0 < published.sum() < published.size
    np.testing.assert_array_equal(published, stain_mask(swapped, MaskSpec("lab")))


def test_a_pixel_on_either_bound_is_kept_and_one_beyond_is_not():
    grey = np.array([[[0] * 3, [119] * 3, [200] * 3, [255] * 3]], dtype=np.uint8)
    lightness = cv2.cvtColor(grey, cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    low, high = int(lightness[1]), int(lightness[2])
    for bounds, kept in [
        ((low, high), [False, True, True, False]),
        ((low + 1, high), [False, False, True, False]),
        ((low, high - 1), [False, True, False, False]),
    ]:
        spec = MaskSpec("lab", (((bounds[0], 0, 0), (bounds[1], 255, 255)),))
        assert stain_mask(grey, spec).tolist() == [kept]


def test_ranges_are_united():
    rgb = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    ranges = MaskSpec().ranges
    each = [stain_mask(rgb, MaskSpec("published", (box,))) for box in ranges]
    np.testing.assert_array_equal(stain_mask(rgb, MaskSpec()), each[0] | each[1] | each[2])


def test_the_background_turns_black_and_the_rest_stays():
    rgb = np.random.default_rng(2).integers(1, 256, (30, 20, 3), dtype=np.uint8)
    before = rgb.copy()
    kept = stain_mask(rgb, MaskSpec())
    masked = apply_mask(rgb, MaskSpec())
    assert masked.dtype == np.uint8
    np.testing.assert_array_equal(masked[kept], before[kept])
    assert not masked[~kept].any()
    np.testing.assert_array_equal(rgb, before)


def test_a_background_above_0_is_dimmed_and_the_rest_stays():
    rgb = np.array([[(200, 200, 100), (40, 20, 160)]], np.uint8)
    assert stain_mask(rgb, MaskSpec()).tolist() == [[True, False]]
    dimmed = apply_mask(rgb, MaskSpec(background=0.35))
    assert dimmed.tolist() == [[[200, 200, 100], [14, 7, 56]]]
    assert apply_mask(rgb, MaskSpec(background=1.0)).tolist() == rgb.tolist()


@pytest.mark.parametrize("background", [-0.1, 1.5, float("nan")])
def test_a_background_outside_0_to_1_is_refused(background):
    with pytest.raises(UserError, match=r"mask\.background"):
        MaskSpec(background=background)


def test_the_order_none_keeps_every_pixel():
    rgb = np.random.default_rng(3).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    assert stain_mask(rgb, MaskSpec("none")).all()
    np.testing.assert_array_equal(apply_mask(rgb, MaskSpec("none")), rgb)


def test_the_defaults_are_the_paper_s():
    assert MaskSpec().order == "published"
    assert MaskSpec().ranges == (
        ((130, 70, 215), (230, 170, 255)),
        ((90, 120, 100), (180, 200, 160)),
        ((100, 50, 100), (200, 150, 200)),
    )


def test_an_unknown_order_is_named():
    with pytest.raises(UserError, match=r"mask.order .*published, lab, none.* 'hsv'"):
        MaskSpec("hsv")


@pytest.mark.parametrize(
    "box",
    [
        ((1, 2, 3),),
        ((1, 2), (3, 4)),
        ((1, 2, 3), (4, 5, 256)),
        ((-1, 2, 3), (4, 5, 6)),
        ((9, 2, 3), (4, 5, 6)),
        ((1.5, 2, 3), (4, 5, 6)),
        (("a", 2, 3), (4, 5, 6)),
    ],
)
def test_a_range_that_cannot_be_is_named_with_its_index(box):
    with pytest.raises(UserError, match=r"mask.ranges\[1\]"):
        MaskSpec("lab", (((0, 0, 0), (255, 255, 255)), box))


def test_no_range_at_all_is_refused_with_the_remedy():
    with pytest.raises(UserError, match=r"mask.ranges .* mask.order=none"):
        MaskSpec("lab", ())
