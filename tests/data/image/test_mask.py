from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.cluster import KMeans

from leukemia.data.files.images import read_image
from leukemia.data.image.mask import MaskSpec, apply_mask, stain_mask
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


@pytest.mark.parametrize("background", [-0.1, 1.5, float("nan"), "black"])
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
    with pytest.raises(UserError, match=r"mask.order .*published, lab, kmeans, none.* 'hsv'"):
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


def smear_of(cells: list[tuple[int, tuple[int, int, int]]]):
    """Discs of radius and colour in a row on noisy glass, and where each is."""
    rgb = np.full((96, 224, 3), GLASS, np.uint8)
    discs = []
    for number, (radius, colour) in enumerate(cells):
        place = (28 + 56 * number, 48)
        cv2.circle(rgb, place, radius, colour, -1)
        # One pixel less: smoothing mixes the colours of an edge.
        disc = np.zeros(rgb.shape[:2], np.uint8)
        discs.append(cv2.circle(disc, place, radius - 2, 1, -1) > 0)
    noisy = rgb + np.random.default_rng(0).normal(0, 4, rgb.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), discs


GLASS = (240, 235, 240)
RED_CELL, NUCLEUS, PALE = (190, 195, 215), (120, 70, 190), (235, 180, 225)


@pytest.mark.parametrize("nucleus", [NUCLEUS, PALE])
@pytest.mark.parametrize("light", [1.0, 0.7])
def test_clusters_keep_nuclei_of_any_stain_and_light_and_nothing_else(nucleus, light):
    rgb, discs = smear_of([(20, RED_CELL), (14, nucleus), (20, RED_CELL), (12, nucleus)])
    kept = stain_mask((rgb * light).astype(np.uint8), MaskSpec("kmeans"))
    assert kept[discs[1] | discs[3]].mean() > 0.99
    assert kept[discs[0] | discs[2]].mean() < 0.01
    assert kept.mean() < 1.45 * (discs[1] | discs[3]).mean()


def test_clusters_are_scikit_learn_s():
    rgb, _ = smear_of([(20, RED_CELL), (14, NUCLEUS), (20, RED_CELL), (12, NUCLEUS)])
    smooth = cv2.GaussianBlur(rgb, (0, 0), 1)
    colours = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)[..., 1:].reshape(-1, 2).astype(float)
    theirs = KMeans(3, n_init=5, random_state=0).fit(colours)
    expected = theirs.labels_ == theirs.cluster_centers_[:, 0].argmax()
    found = stain_mask(rgb, MaskSpec("kmeans"))
    assert 0.03 < expected.mean() < 0.06
    assert (found.ravel() != expected).mean() < 0.001


def test_the_most_magenta_clusters_are_kept():
    stripes = np.repeat(np.array([[GLASS, GLASS, PALE, NUCLEUS]], np.uint8), 30, axis=1)
    rgb = np.repeat(stripes, 40, axis=0)
    for nuclei, kept in ((1, [0, 0, 1]), (2, [0, 1, 1])):
        found = stain_mask(rgb, MaskSpec("kmeans", nuclei=nuclei))
        np.testing.assert_array_equal(found[20, [15, 75, 105]], kept)


def test_clusters_are_the_same_each_time_and_in_any_thread():
    rgb, _ = smear_of([(20, RED_CELL), (14, NUCLEUS)])
    cv2.setRNGSeed(1)
    with ThreadPoolExecutor(3) as pool:
        masks = list(pool.map(lambda _: stain_mask(rgb, MaskSpec("kmeans")), range(6)))
    assert all((mask == masks[0]).all() for mask in masks)
    assert masks[0].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 300), (64, 64)])
@pytest.mark.parametrize("noise", [0, 2])
def test_an_empty_field_has_no_nuclei(size, noise):
    glass = 230 + np.random.default_rng(0).normal(0, noise, (*size, 3))
    masked = apply_mask(glass.astype(np.uint8), MaskSpec("kmeans"))
    assert masked.shape == (*size, 3)
    assert not masked.any()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"clusters": 1}, r"mask\.clusters .* from 2 to 16, but got 1"),
        ({"clusters": 2.5}, r"mask\.clusters .* 2\.5"),
        ({"nuclei": 3}, r"mask\.nuclei .* from 1 to 2, but got 3"),
    ],
)
def test_clusters_that_cannot_be_are_named(settings, told):
    with pytest.raises(UserError, match=told):
        MaskSpec("kmeans", **settings)
