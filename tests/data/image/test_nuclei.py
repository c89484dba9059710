"""Nuclei are found by what they are, not by the ranges of the paper's masks."""

import cv2
import numpy as np
import pytest

from leukemia.data.image.mask import MaskSpec, find_nuclei, stain_mask

PURPLE, PINK = (130, 80, 220), (235, 150, 240)
GREY_RED_CELL, EOSIN_RED_CELL = (165, 165, 200), (214, 168, 178)


def smear(nucleus: tuple, red_cell: tuple, n_nuclei: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A picture of many red cells and some nuclei, with noise, and where the nuclei are."""
    rng = np.random.default_rng(0)
    picture = np.full((224, 224, 3), (240, 240, 235), np.uint8)
    truth = np.zeros((224, 224), np.uint8)
    places = [(x, y) for x in range(20, 224, 32) for y in range(20, 224, 32)]
    for number, place in enumerate(places):
        is_nucleus = number % (len(places) // n_nuclei) == 0
        cv2.circle(picture, place, 11, nucleus if is_nucleus else red_cell, -1)
        if is_nucleus:
            cv2.circle(truth, place, 11, 1, -1)
    noisy = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    return noisy, truth.astype(bool)


@pytest.mark.parametrize("nucleus", [PURPLE, PINK])
@pytest.mark.parametrize(
    ("red_cell", "n_nuclei"),
    [(GREY_RED_CELL, 1), (GREY_RED_CELL, 16), (EOSIN_RED_CELL, 2), (EOSIN_RED_CELL, 16)],
)
def test_nuclei_of_any_stain_are_told_from_red_cells(nucleus, red_cell, n_nuclei):
    picture, truth = smear(nucleus, red_cell, n_nuclei)
    found = find_nuclei(picture)
    assert (found & truth).sum() / (found | truth).sum() > 0.8


def test_the_mask_of_the_paper_would_leave_pink_nuclei_out():
    picture, truth = smear(PINK, GREY_RED_CELL)
    assert stain_mask(picture, MaskSpec())[truth].mean() < 0.01
    assert find_nuclei(picture)[truth].mean() > 0.8


def test_an_image_of_one_colour_has_no_nuclei():
    assert not find_nuclei(np.full((64, 64, 3), PURPLE, np.uint8)).any()
