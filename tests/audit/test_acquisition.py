"""Acquisition groups."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from leukemia.audit.acquisition import appearance, find_groups, keep_together
from leukemia.data.image.mask import find_regions


@pytest.fixture(scope="module")
def clouds():
    """Appearances of five groups, and which is which."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), (60, 40, 30, 25, 20))
    points = 8 * rng.normal(size=(5, 9))[truth] + rng.normal(size=(len(truth), 9))
    return points, truth


def test_groups_are_found_with_their_number(clouds):
    points, truth = clouds
    found = find_groups(points, np.zeros(len(points), np.int64))
    assert adjusted_rand_score(truth, found) > 0.95
    sizes = np.bincount(found)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)


def test_the_same_images_get_the_same_groups_whatever_their_order(clouds):
    points, _ = clouds
    styles = np.zeros(len(points), np.int64)
    order = np.random.default_rng(1).permutation(len(points))
    found = find_groups(points, styles)
    assert np.array_equal(found, find_groups(points, styles))
    assert adjusted_rand_score(found[order], find_groups(points[order], styles)) == 1


def test_a_measure_that_is_unknown_counts_as_the_usual_one(clouds):
    points, truth = clouds
    holes = points.copy()
    holes[::7, 3] = np.nan
    holes[:, 5] = np.nan
    found = find_groups(holes, np.zeros(len(points), np.int64))
    assert adjusted_rand_score(truth, found) > 0.9


def test_alike_images_with_other_scale_bars_are_other_groups():
    points = np.random.default_rng(0).normal(size=(80, 9))
    styles = np.arange(80) % 2
    assert adjusted_rand_score(styles, find_groups(points, styles)) == 1


@pytest.mark.parametrize("n", [1, 2, 15])
def test_few_images_are_one_group(n):
    points = np.random.default_rng(0).normal(size=(n, 9))
    assert find_groups(points, np.zeros(n, np.int64)).tolist() == [0] * n


def test_related_images_go_where_most_of_them_are():
    groups, related = np.array([0, 0, 1, 2, 2, 1]), np.array([0, 0, 0, 1, 2, 1])
    assert keep_together(groups, related).tolist() == [0, 0, 0, 1, 2, 1]


def test_appearance_ignores_how_bright_a_field_is():
    rng = np.random.default_rng(0)
    smear = np.full((64, 64, 3), (230, 215, 225), np.uint8)
    smear[10:30, 10:30] = (200, 150, 165)
    smear[35:50, 5:25] = (100, 60, 140)
    smear = (smear + rng.normal(0, 2, smear.shape)).astype(np.uint8)
    dim = (smear * 0.8).astype(np.uint8)
    bluish = np.clip(smear * [0.9, 1, 1.05], 0, 255).astype(np.uint8)
    one, dimmed, tinted = (appearance(x, find_regions(x)) for x in (smear, dim, bluish))
    assert one[:8] == pytest.approx(dimmed[:8], abs=0.03)
    assert abs(one - tinted)[:2].max() > 0.04


def test_an_image_of_one_colour_has_an_unknown_appearance_but_no_error():
    plain = np.full((32, 32, 3), 128, np.uint8)
    assert np.isnan(appearance(plain, find_regions(plain))).any()
