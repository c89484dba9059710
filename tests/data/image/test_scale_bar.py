"""Scale bars are found by their ink, and what is painted over them no longer tells them."""

from functools import cache

import cv2
import hydra
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from leukemia.classes import Classes
from leukemia.cli import CONF
from leukemia.compose.data import build_augmenter
from leukemia.compose.preprocess import build_preprocess
from leukemia.data.files.folders import list_images
from leukemia.data.files.images import read_image
from leukemia.data.image.scale_bar import find_scale_bar, remove_scale_bar
from leukemia.data.synthetic import paint_smears

STYLES = ["boxed", "bare", "red"]


def configured(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", list(overrides))


@cache
def blank(height: int, width: int) -> np.ndarray:
    """A smear of round red cells and nuclei, without a bar."""
    rng = np.random.default_rng(0)
    picture = np.full((height, width, 3), (226, 214, 226), np.float64)
    for _ in range(60):
        place = (int(rng.integers(width)), int(rng.integers(height)))
        colour = [(200, 160, 180), (110, 70, 150)][int(rng.integers(4) == 0)]
        cv2.circle(picture, place, width // 20, colour, -1, cv2.LINE_AA)
    noisy = cv2.GaussianBlur(picture, (0, 0), width / 224) + rng.normal(0, 3, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def with_bar(rgb: np.ndarray, style: str) -> tuple[np.ndarray, np.ndarray]:
    """The image with a bar, and the rectangle that it lies in."""
    unit = rgb.shape[1] / 224
    right, bottom = rgb.shape[1] - round(6 * unit), rgb.shape[0] - round(6 * unit)
    left, top = right - round(40 * unit), bottom - round(16 * unit)
    marked, where = rgb.copy(), np.zeros(rgb.shape[:2], bool)
    where[top:bottom, left:right] = True
    if style == "boxed":
        marked[where] = 255
    ink = (200, 30, 30) if style == "red" else (20, 20, 20)

    def stroke(x: float, y: float, width: float, height: float) -> None:
        x, y = round(left + x * unit), round(top + y * unit)
        marked[y : y + round(height * unit), x : x + round(width * unit)] = ink

    stroke(4, 12, 30, 2)
    for x in range(6, 30, 4):  # as letters are, of about this height and distance
        stroke(x, 4, 1.4, 5)
        stroke(x, 6, 3, 1.2)
    return marked, where


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [(224, 224), (768, 1024), (112, 112), (300, 200)])
def test_a_bar_is_found_and_the_rest_left_as_it_was(style, size):
    before = blank(*size)
    marked, where = with_bar(before, style)
    found = find_scale_bar(marked)
    assert found[(marked != before).any(axis=2)].mean() > 0.98
    # Of the rest, a margin of in-painted pixels at most: edges, and where ticks may be.
    margin = round(12 * size[1] / 224)
    around = cv2.dilate(where.astype(np.uint8), np.ones((2 * margin + 1,) * 2)) > 0
    assert not found[~around].any()
    clean = remove_scale_bar(marked)
    np.testing.assert_array_equal(clean[~found], marked[~found])
    assert not find_scale_bar(clean).any()


@pytest.mark.parametrize("style", STYLES)
def test_a_bar_survives_no_jpeg(style):
    marked, where = with_bar(blank(224, 224), style)
    data = cv2.imencode(".jpg", marked[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    found = find_scale_bar(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    assert found[where].mean() > 0.5


def test_an_image_without_a_bar_is_returned_as_it_is():
    rgb = blank(224, 224)
    assert not find_scale_bar(rgb).any()
    assert remove_scale_bar(rgb) is rgb


@pytest.mark.parametrize("shade", [0, 20, 128, 255])
def test_an_image_of_one_grey_has_no_bar(shade):
    rgb = np.full((50, 60, 3), shade, np.uint8)
    assert remove_scale_bar(rgb) is rgb


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3)])
def test_images_of_odd_shapes_have_no_bar(size):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert remove_scale_bar(rgb).shape == rgb.shape


def test_black_debris_and_dark_nuclei_are_no_bar():
    rgb = blank(224, 224).copy()
    cv2.circle(rgb, (190, 200), 6, (15, 10, 20), -1)
    cv2.circle(rgb, (210, 190), 12, (60, 20, 100), -1)
    assert not find_scale_bar(rgb).any()


@pytest.fixture(scope="module")
def painted(tmp_path_factory) -> tuple[list[np.ndarray], np.ndarray]:
    """Images and labels."""
    folder = paint_smears(tmp_path_factory.mktemp("painted") / "a", per_class=16)
    images = list_images(folder, Classes())
    labels = np.array([image.label for image in images])
    return [read_image(folder / image.path) for image in images], labels


@pytest.mark.parametrize("style", STYLES)
def test_a_shortcut_planted_in_one_class_is_taken_away(style, painted):
    pixels, labels = painted
    planted = [with_bar(x, style)[0] if y == 3 else x for x, y in zip(pixels, labels, strict=True)]
    clean = [remove_scale_bar(x) for x in planted]
    assert all(find_scale_bar(x).any() == (y == 3) for x, y in zip(planted, labels, strict=True))

    def told_from_the_corner(images: list[np.ndarray]) -> float:
        """Balanced accuracy of Pro against the rest, from the pixels of the corner alone."""
        corner = np.array([x[190:, 170:].ravel() for x in images])
        svm = SVC(class_weight="balanced")
        model = make_pipeline(StandardScaler(), PCA(10, random_state=0), svm)
        return cross_val_score(model, corner, labels == 3, cv=4, scoring="balanced_accuracy").mean()

    assert told_from_the_corner(planted) > 0.9
    assert told_from_the_corner(clean) < 0.65


@pytest.mark.parametrize("mask", ["published", "lab", "dimmed", "none"])
def test_the_setting_removes_it_before_any_mask(mask):
    marked, _ = with_bar(blank(224, 224), "boxed")
    kept, removed = (
        build_preprocess(configured(f"mask={mask}", *overrides))
        for overrides in ((), ("mask.scale_bar=remove",))
    )
    np.testing.assert_array_equal(removed(marked), kept(remove_scale_bar(marked)))
    assert kept.key != removed.key


def test_augment_presets_are_composed():
    for name, words in (
        ("stain", ["augment=stain"]),
        ("grey", ["augment=smear", "augment.spec.grey_p=0.5"]),
    ):
        augmenter = build_augmenter(configured(*words))
        views = [augmenter(blank(224, 224), epoch, 0) for epoch in range(8)]
        colours = np.array([view.reshape(-1, 3).mean(axis=0) for view in views])
        grey = [bool((np.ptp(view, axis=2) == 0).all()) for view in views]
        # Turns and flips alone would leave the mean colour.
        assert colours.std(axis=0).max() > 3
        assert any(grey) == (name == "grey")


def real(aria, step: int) -> list[np.ndarray]:
    return [read_image(aria / image.path) for image in list_images(aria, Classes())[::step]]


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_every_real_image_has_a_bar_once(aria, step):
    images = real(aria, step)
    bars = [find_scale_bar(x) for x in images]
    assert sum(bar.any() for bar in bars) >= len(images) - 1
    assert all(bar.mean() < 0.04 for bar in bars)
    assert not any(find_scale_bar(remove_scale_bar(x)).any() for x in images)
    # Nothing else looks like one: mirrored, the lower right corner was the lower left.
    assert not any(find_scale_bar(x[:, ::-1]).any() for x in images)
    assert not any(find_scale_bar(x[::-1]).any() for x in images)
