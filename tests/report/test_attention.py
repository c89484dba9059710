"""The shares of a map among regions, and when they are a warning."""

import csv
import io

import numpy as np
import pytest

from leukemia.report.attention import (
    PARTITION,
    Attention,
    attention_figure,
    divide,
    gather,
    make_regions,
    share_of,
)

NAMES = ("A", "B")


def sides(size: int = 224) -> dict[str, np.ndarray]:
    """Nuclei on the left half; the mask keeps the upper half."""
    left, upper = np.zeros((2, size, size), dtype=bool)
    left[:, : size // 2] = True
    upper[: size // 2] = True
    return make_regions(left, upper)


def test_the_corner_is_that_of_the_scale_bar_at_any_size():
    corner = np.zeros((224, 224), dtype=bool)
    corner[190:, 170:] = True
    assert (sides()["corner"] == corner).all()
    assert (sides(112)["corner"] == corner[::2, ::2]).all()


def test_the_parts_do_not_overlap_and_are_the_image_and_shares_sum_to_one():
    nuclei = np.random.default_rng(0).random((60, 60)) < 0.3
    regions = make_regions(nuclei, nuclei)
    assert (sum(regions[name].astype(int) for name in PARTITION) == 1).all()
    look = divide({"occlusion": np.random.default_rng(1).normal(size=(60, 60))}, regions)
    assert sum(look.shares["occlusion"][name] for name in PARTITION) == pytest.approx(1)
    assert sum(look.area[name] for name in PARTITION) == pytest.approx(1)


def test_a_share_is_of_the_positive_mass():
    heat = np.zeros((224, 224))
    heat[0, 0], heat[0, 200], heat[200, 200], heat[100, 10] = 3, 4, 1, -50
    regions = sides()
    shares = {name: share_of(heat, region) for name, region in regions.items()}
    assert shares == {"nuclei": 3 / 8, "background": 4 / 8, "corner": 1 / 8, "kept": 7 / 8}
    assert np.isnan(share_of(-np.abs(heat), regions["nuclei"]))


def even(nuclei: float, corner: float, n: int = 6) -> Attention:
    """N images whose nuclei cover a fifth of the area, the corner a twentieth."""
    area = {"nuclei": 0.2, "background": 0.75, "corner": 0.05, "kept": 0.4}
    shares = {"nuclei": nuclei, "background": 1 - nuclei - corner, "corner": corner, "kept": 0.4}
    return Attention(
        {"grad_cam": {name: np.full(n, value) for name, value in shares.items()}},
        {name: np.full(n, value) for name, value in area.items()},
    )


@pytest.mark.parametrize(
    ("nuclei", "corner", "warned"),
    [
        (0.21, 0.09, []),
        (0.19, 0.09, ["nuclei hold 19.0% of the map and 20.0% of the area"]),
        (0.21, 0.11, ["the scale bar's corner holds 11.0% of the map and 5.0% of the area"]),
    ],
)
def test_attention_off_the_cells_is_a_warning(nuclei, corner, warned):
    found = even(nuclei, corner).warnings(np.zeros(6, int), NAMES)
    assert len(found) == len(warned)
    assert all(text in line for text, line in zip(warned, found, strict=True))
    assert all(line.startswith("Grad-CAM, A: ") for line in found)


def test_a_class_is_judged_by_its_own_images_and_not_by_a_few():
    labels = np.array([0] * 5 + [1] * 4)
    found = even(0.1, 0.05, n=9).warnings(labels, NAMES)
    assert [line.partition(":")[0] for line in found] == ["Grad-CAM, A"]


def test_an_image_that_could_not_be_used_is_unknown_and_left_empty_in_the_table():
    look = divide({"grad_cam": np.ones((224, 224))}, sides())
    attention = gather([look, None], ["grad_cam"])
    shares = attention.shares["grad_cam"]
    assert shares["nuclei"][0] == pytest.approx(112 * 224 / 224**2)
    assert np.isnan([shares["corner"][1], attention.area["nuclei"][1]]).all()
    text = attention.to_csv(["a, b.png", "c.png"], ["A", "B"], np.array([0.25, 1e-9]))
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["file"], first["prediction"], first["p_cancer"]) == ("a, b.png", "A", "0.25")
    assert float(first["grad_cam_nuclei"]) == pytest.approx(float(first["area_nuclei"]))
    assert (second["grad_cam_nuclei"], second["p_cancer"]) == ("", "1e-09")


def test_the_figure_has_a_box_for_each_class_and_the_area_beside_it():
    attention = even(0.3, 0.02, n=3)
    attention.shares["grad_cam"]["nuclei"][:] = [0.1, 0.3, 0.6]
    figure = attention_figure(attention, np.array([0, 0, 1]), NAMES)
    nuclei, *_ = figure.axes
    assert [x.get_title("left") for x in figure.axes] == [f"Grad-CAM: {name}" for name in PARTITION]
    medians = [line.get_ydata()[0] for line in nuclei.lines if line.get_linewidth() == 2]
    np.testing.assert_allclose(medians, [0.2, 0.6])
    (area,) = (line for line in nuclei.lines if line.get_marker() == "D")
    np.testing.assert_allclose(area.get_ydata(), [0.2, 0.2])
    assert [text.get_text() for text in nuclei.get_xticklabels()] == ["A\n(n=2)", "B\n(n=1)"]
