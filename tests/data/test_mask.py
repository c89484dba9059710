"""Masks: the paper's own outputs are reproduced."""

import cv2
import numpy as np
import pytest

from leukemia.data.files import read_image
from leukemia.data.mask import PAPER_RANGES, MaskSpec, apply_mask, stain_mask
from leukemia.errors import UserError


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_the_published_mask_reproduces_all_published_files(aria, published):
    files = sorted((published / "masked").rglob("*.jpg"))
    assert len(files) == 40
    found, true_order = {}, []
    for file in files:
        bright = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 40
        image = read_image(aria / file.parent.name / file.name)
        found[file.name] = iou(stain_mask(image, MaskSpec("published")), bright)
        true_order.append(iou(stain_mask(image, MaskSpec("lab")), bright))
    assert {name: value for name, value in found.items() if value < 0.999} == {}
    assert np.mean(true_order) < 0.6  # the true channel order gives another mask


def test_the_paper_ranges_are_those_of_section_3_2_1():
    assert PAPER_RANGES == (
        ((130, 70, 215), (230, 170, 255)),
        ((90, 120, 100), (180, 200, 160)),
        ((100, 50, 100), (200, 150, 200)),
    )


def test_background_becomes_black_and_stain_keeps_its_colour():
    purple, white = (150, 110, 170), (255, 255, 255)
    image = np.array([[purple, white]], dtype=np.uint8)
    assert stain_mask(image, MaskSpec("lab")).tolist() == [[True, False]]
    assert apply_mask(image, MaskSpec("lab")).tolist() == [[list(purple), [0, 0, 0]]]
    assert apply_mask(image, MaskSpec("none")).tolist() == image.tolist()


@pytest.mark.parametrize(
    ("order", "ranges", "told"),
    [
        ("rgb", PAPER_RANGES, "mask.order"),
        ("lab", (), "mask.ranges"),
        ("lab", (((0, 0, 0), (256, 0, 0)),), "mask.ranges[0]"),
        ("lab", (((9, 0, 0), (3, 0, 0)),), "mask.ranges[0]"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(order, ranges, told):
    with pytest.raises(UserError) as error:
        MaskSpec(order, ranges)
    assert told in str(error.value)
