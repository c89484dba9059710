"""Heat maps over images."""

import matplotlib as mpl
import numpy as np

from leukemia.report.attention import heat_figure, overlay

PICTURE = np.full((4, 4, 3), 100, np.uint8)
HEAT = np.zeros((4, 4))
HEAT[1, 2], HEAT[3, 3] = 5.0, -5.0


def test_the_overlay_is_brightest_at_the_maximum_and_darkest_from_zero_down():
    found = overlay(PICTURE, HEAT)
    colours = mpl.colormaps["viridis"]([0.0, 1.0])[:, :3]
    low, high = np.round(0.6 * 255 * colours + 0.4 * 100).astype(int)
    assert found[1, 2].tolist() == high.tolist()
    assert found[0, 0].tolist() == found[3, 3].tolist() == low.tolist()


def test_a_map_without_mass_is_dark_everywhere():
    found = overlay(PICTURE, np.zeros((4, 4)))
    assert (found == found[0, 0]).all()


def test_the_figure_shows_the_image_each_map_with_its_unit_and_the_title_as_it_stands():
    figure = heat_figure(PICTURE, {"One": (HEAT, "points")}, "a_$b$.png\npredicted A")
    image, one, bar = figure.axes
    assert figure.get_suptitle() == "a_$b$.png\npredicted A"
    assert image.images[0].get_array().tolist() == PICTURE.tolist()
    assert one.get_title("left") == "One"
    assert one.images[1].get_clim() == (0, 5)
    assert one.images[1].get_array().min() == 0
    assert bar.get_ylabel() == "points"
