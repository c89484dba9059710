"""Crops: square, nuclei in frame, nothing stretched."""

import numpy as np
import pytest

from leukemia.data.crop import to_square
from leukemia.data.mask import MaskSpec, stain_mask
from leukemia.errors import UserError

PURPLE, PALE = (150, 110, 170), (240, 235, 238)
LAB = MaskSpec("lab")


def smear(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    image = np.full((height, width, 3), PALE, dtype=np.uint8)
    image[top : top + side, left : left + side] = PURPLE
    return image


def test_an_image_of_the_right_size_passes_untouched():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    for mode in ("square", "squash"):
        assert np.array_equal(to_square(image, mode, LAB), image)


@pytest.mark.parametrize(("top", "left"), [(40, 0), (40, 250), (40, 700)])
def test_the_square_keeps_a_nucleus_in_frame_and_in_shape(top, left):
    image = smear(384, 768, top, left, 60)
    found = stain_mask(to_square(image, "square", LAB), LAB)
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    assert 33 <= len(rows) <= 37  # 60 * 224 / 384 = 35
    assert abs(len(rows) - len(columns)) <= 1


def test_the_square_of_a_tall_image_slides_down():
    found = stain_mask(to_square(smear(900, 300, 850, 100, 40), "square", LAB), LAB)
    assert found.sum() == pytest.approx((40 * 224 / 300) ** 2, rel=0.1)


def test_without_any_stain_the_square_is_central():
    image = np.full((100, 300, 3), PALE, dtype=np.uint8)
    image[:, 100:200] = 255
    assert (to_square(image, "square", LAB, size=50) == 255).all()


def test_squash_resizes_both_sides():
    found = stain_mask(to_square(smear(768, 1024, 0, 0, 256), "squash", LAB), LAB)
    assert abs(len(np.flatnonzero(found.any(1))) - 75) <= 1  # 256 * 224 / 768
    assert abs(len(np.flatnonzero(found.any(0))) - 56) <= 1  # 256 * 224 / 1024


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3000, 20)])
@pytest.mark.parametrize("mode", ["square", "squash"])
def test_any_shape_becomes_square(shape, mode):
    image = np.full((*shape, 3), 77, dtype=np.uint8)
    for spec in (LAB, MaskSpec("none")):
        out = to_square(image, mode, spec)
        assert out.shape == (224, 224, 3)
        assert (out == 77).all()


def test_an_unknown_mode_is_refused():
    with pytest.raises(UserError, match=r"crop\.mode.*'cut'"):
        to_square(np.zeros((2, 2, 3), np.uint8), "cut", LAB)
