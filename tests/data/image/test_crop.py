import cv2
import numpy as np
import pytest

from leukemia.data.image.mask import MaskSpec, stain_mask
from leukemia.data.image.preprocess import to_square

PURPLE, PALE = (142, 85, 210), (250, 250, 245)


def smear(height: int, width: int, *nuclei: tuple[int, int, int]) -> np.ndarray:
    """A pale field with a stained square (top, left, side) for each nucleus."""
    rgb = np.full((height, width, 3), PALE, dtype=np.uint8)
    for top, left, side in nuclei:
        rgb[top : top + side, left : left + side] = PURPLE
    return rgb


def stained(rgb: np.ndarray) -> int:
    return int(stain_mask(rgb, MaskSpec()).sum())


@pytest.mark.parametrize("mode", ["square", "squash"])
@pytest.mark.parametrize("size", [224, 64])
def test_an_image_of_the_right_size_passes_untouched(mode, size):
    rgb = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    before = rgb.copy()
    np.testing.assert_array_equal(to_square(rgb, mode, MaskSpec(), size), before)


@pytest.mark.parametrize("left", [0, 40, 200, 390])
def test_the_square_holds_the_nucleus_wherever_it_lies(left):
    rgb = smear(100, 400, (45, left, 10))
    assert stained(to_square(rgb, "square", MaskSpec(), 100)) == 100


@pytest.mark.parametrize("top", [0, 40, 200, 390])
def test_a_tall_image_is_searched_from_top_to_bottom(top):
    rgb = smear(400, 100, (top, 45, 10))
    assert stained(to_square(rgb, "square", MaskSpec(), 100)) == 100


def test_of_two_groups_the_larger_is_kept():
    rgb = smear(100, 400, (10, 20, 30), (10, 300, 40))
    assert stained(to_square(rgb, "square", MaskSpec(), 100)) == 40 * 40


def test_the_square_takes_the_whole_shorter_side():
    rgb = smear(100, 400, (0, 180, 40), (60, 180, 40))
    assert stained(to_square(rgb, "square", MaskSpec(), 100)) == 2 * 40 * 40


def test_equal_windows_are_centred():
    rgb = smear(100, 301)
    rgb[:, 100:200] = (249, 250, 245)  # nothing is stained anywhere
    out = to_square(rgb, "square", MaskSpec(), 100)
    # 202 windows: two are nearest to the centre, 100 and 101.
    assert (out[:, :, 0] == 249).sum() in (100 * 100, 100 * 99)
    both = to_square(smear(100, 300, (45, 145, 10)), "square", MaskSpec(), 100)
    columns = np.flatnonzero(stain_mask(both, MaskSpec()).any(axis=0))
    assert (columns.min(), columns.max()) == (45, 54)


def test_without_a_mask_the_published_ranges_place_the_square():
    rgb = smear(100, 400, (45, 5, 10))
    np.testing.assert_array_equal(
        to_square(rgb, "square", MaskSpec("none"), 100),
        to_square(rgb, "square", MaskSpec("published"), 100),
    )
    assert stained(to_square(rgb, "square", MaskSpec("none"), 100)) == 100


def test_the_square_does_not_stretch():
    rgb = np.full((300, 400, 3), PALE, dtype=np.uint8)
    cv2.circle(rgb, (200, 150), 60, PURPLE, -1)
    rows, columns = np.nonzero(stain_mask(to_square(rgb, "square", MaskSpec(), 100), MaskSpec()))
    assert np.ptp(rows) == np.ptp(columns) == pytest.approx(40, abs=1)


def test_squash_shrinks_both_sides_by_averaging_over_areas():
    rgb = np.random.default_rng(1).integers(0, 256, (448, 896, 3), dtype=np.uint8)
    expected = rgb.reshape(224, 2, 224, 4, 3).mean(axis=(1, 3))
    out = to_square(rgb, "squash", MaskSpec(), 224)
    assert np.abs(out - expected).max() <= 0.5


def test_squash_averages_over_the_side_that_shrinks_where_the_other_grows():
    rgb = np.random.default_rng(2).integers(0, 256, (10, 2240, 3), dtype=np.uint8)
    expected = rgb.reshape(10, 224, 10, 3).mean(axis=2)
    out = to_square(rgb, "squash", MaskSpec(), 224)
    # Top and bottom rows of an enlarged image repeat the outermost pixels.
    assert np.abs(out[0] - expected[0]).max() <= 1
    assert np.abs(out[-1] - expected[-1]).max() <= 1


def test_the_published_size_comes_from_squashed_photographs():
    rgb = smear(768, 1024, (0, 0, 64))
    rows, columns = np.nonzero(stain_mask(to_square(rgb, "squash", MaskSpec()), MaskSpec()))
    assert (rows.max() + 1, columns.max() + 1) == (
        pytest.approx(64 * 224 / 768, abs=1),
        pytest.approx(64 * 224 / 1024, abs=1),
    )


@pytest.mark.parametrize("mode", ["square", "squash"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (223, 224), (225, 224)])
def test_any_size_becomes_square(mode, shape):
    rgb = np.full((*shape, 3), PURPLE, dtype=np.uint8)
    out = to_square(rgb, mode, MaskSpec())
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, np.full((224, 224, 3), PURPLE, dtype=np.uint8))
