import itertools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from leukemia.data.augment import Augmenter, AugmentSpec, paper_views, scale_stains
from leukemia.data.datamodule import Batches, Rows
from leukemia.errors import UserError

EVERYTHING = AugmentSpec(
    hflip=0.5,
    vflip=0.5,
    quarter_turns=0.5,
    rotation=180.0,
    blur_p=0.5,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.05,
    jitter_p=0.8,
    scale=0.1,
    hed=0.1,
    grey_p=0.1,
)


def picture(side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def draws(spec: AugmentSpec, count: int, seed: int = 0, border: str = "black") -> list[np.ndarray]:
    augment = Augmenter(spec, seed, border=border)
    return [augment(picture(), 0, index) for index in range(count)]


def symmetries() -> dict[bytes, str]:
    """The eight symmetries of the square by the bytes of the picture that each makes."""
    names = {}
    for turns, mirrored in itertools.product(range(4), (False, True)):
        turned = np.rot90(picture(), turns)
        image = turned[:, ::-1] if mirrored else turned
        names[image.tobytes()] = f"{turns}m" if mirrored else f"{turns}"
    return names


def test_an_augmentation_that_does_nothing_returns_the_image():
    np.testing.assert_array_equal(Augmenter(AugmentSpec(), 0)(picture(), 3, 5), picture())


def test_the_image_given_is_never_changed():
    image = picture()
    image.flags.writeable = False
    augment = Augmenter(EVERYTHING, 0)
    for index in range(20):
        assert augment(image, 0, index).dtype == np.uint8
    np.testing.assert_array_equal(image, picture())


def test_seed_epoch_and_row_fix_the_result_whatever_came_before():
    first = Augmenter(EVERYTHING, 7)
    expected = {(e, i): first(picture(), e, i) for e in range(3) for i in range(5)}
    second = Augmenter(EVERYTHING, 7)
    for epoch, index in reversed(expected):
        np.testing.assert_array_equal(second(picture(), epoch, index), expected[epoch, index])


def test_seeds_epochs_and_rows_all_differ():
    made = [
        Augmenter(EVERYTHING, seed)(picture(), epoch, index).tobytes()
        for seed in range(3)
        for epoch in range(4)
        for index in range(4)
    ]
    assert len(set(made)) == len(made)


def test_every_symmetry_of_the_square_is_equally_likely():
    # Transforms that draw from equal streams would flip both ways or not at all: no mirror image.
    made = draws(AugmentSpec(hflip=0.5, vflip=0.5, quarter_turns=1.0), 4000)
    counts = Counter(symmetries()[image.tobytes()] for image in made)
    # 500 expected of each, standard deviation 21.
    assert set(counts) == {"0", "1", "2", "3", "0m", "1m", "2m", "3m"}
    assert all(abs(count - 500) < 5 * 21 for count in counts.values())


def test_the_two_flips_come_independently_with_their_own_probabilities():
    counts = Counter(
        symmetries()[image.tobytes()] for image in draws(AugmentSpec(hflip=0.3, vflip=0.6), 2000)
    )
    # Mirrored left to right "0m", upside down "2m", both "2"; standard deviation at most 23.
    for name, expected in [("0", 560), ("0m", 240), ("2m", 840), ("2", 360)]:
        assert abs(counts[name] - expected) < 5 * 23
    assert counts.total() == sum(counts[name] for name in ("0", "0m", "2m", "2"))


def test_the_draws_of_all_transforms_together_are_rarely_nothing():
    unchanged = sum((image == picture()).all() for image in draws(EVERYTHING, 300))
    assert unchanged <= 3


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_makes_the_same_epochs(workers):
    images = np.stack([np.roll(picture(), shift, axis=0) for shift in range(10)])
    labels = np.arange(10)

    def epochs(number: int) -> list[torch.Tensor]:
        batches = Batches(labels, 3, shuffle=True, seed=4)
        loader = DataLoader(
            Rows(images, labels, Augmenter(EVERYTHING, 4)),
            sampler=batches,
            batch_size=None,
            num_workers=number,
            persistent_workers=number > 0,
        )
        made = []
        for epoch in range(2):
            batches.set_epoch(epoch)
            made.append(torch.cat([inputs for inputs, _ in loader]))
        return made

    alone, shared = epochs(0), epochs(workers)
    assert not torch.equal(alone[0], alone[1])
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one, other)


def test_rotation_leaves_black_corners_or_reflects_the_image():
    bright = np.full((32, 32, 3), 200, dtype=np.uint8)
    spec = AugmentSpec(rotation=180.0, rotation_p=1.0)
    black = [Augmenter(spec, 0, border="black")(bright, 0, i) for i in range(20)]
    reflected = [Augmenter(spec, 0, border="reflect")(bright, 0, i) for i in range(20)]
    assert sum((image == 0).any() for image in black) > 15
    assert all((image == 200).all() for image in reflected)


def test_zoom_makes_things_larger_or_smaller_but_not_more_than_asked():
    image = np.zeros((101, 101, 3), dtype=np.uint8)
    image[30:71, 30:71] = 255
    augment = Augmenter(AugmentSpec(scale=0.2, rotation_p=1.0), 0)
    zoomed = [augment(image, 0, i)[..., 0] > 127 for i in range(200)]
    sides = np.array([(one[50].sum(), one[:, 50].sum()) for one in zoomed])
    assert np.abs(sides[:, 0] - sides[:, 1]).max() <= 1
    assert 41 * 0.8 - 1 <= sides.min() < 36
    assert 46 < sides.max() <= 41 * 1.2 + 1


def test_grey_has_equal_channels():
    for image in draws(AugmentSpec(grey_p=1.0), 3):
        assert (image == image[..., :1]).all()


def test_jitter_of_brightness_stays_in_its_range():
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    augment = Augmenter(AugmentSpec(brightness=0.3, jitter_p=1.0), 0)
    means = [augment(image, 0, i).mean() for i in range(300)]
    assert 69 <= min(means) < 75
    assert 125 < max(means) <= 131


def test_stain_jitter_varies_about_the_image_itself():
    rgb = np.full((8, 8, 3), (142, 85, 210), dtype=np.uint8)
    augment = Augmenter(AugmentSpec(hed=0.1), 0)
    colours = np.array([augment(rgb, 0, i)[0, 0] for i in range(400)])
    assert np.abs(colours.mean(axis=0) - (142, 85, 210)).max() < 2
    assert colours.std(axis=0).min() > 1
    assert len(np.unique(colours, axis=0)) > 100


def test_scaled_stains_follow_the_law_of_beer_and_lambert():
    haematoxylin = np.array([0.65, 0.70, 0.29])
    rgb = np.rint(256 * np.exp(-0.8 * haematoxylin) - 1).astype(np.uint8).reshape(1, 1, 3)
    double = 256 * np.exp(-1.6 * haematoxylin) - 1
    scaled = scale_stains(rgb, np.array([2.0, 1.0, 1.0]))
    np.testing.assert_allclose(scaled[0, 0], double, atol=2)
    np.testing.assert_array_equal(scale_stains(picture(), np.ones(3)), picture())
    white = np.full((2, 2, 3), 255, dtype=np.uint8)
    np.testing.assert_array_equal(scale_stains(white, np.array([1.5, 0.5, 2.0])), white)


def test_the_paper_s_five_views():
    views = paper_views(picture(), 0, 0)
    assert views.shape == (5, 32, 32, 3)
    np.testing.assert_array_equal(views[0], picture())
    np.testing.assert_array_equal(views[1], picture()[:, ::-1])
    np.testing.assert_array_equal(views[2], picture()[::-1])
    np.testing.assert_array_equal(views, paper_views(picture(), 0, 0))
    for other in (paper_views(picture(), 1, 0), paper_views(picture(), 0, 1)):
        assert (other[3] != views[3]).any()


def test_the_rotated_view_turns_by_any_angle_up_to_half_a_turn():
    image = np.zeros((101, 101, 3), dtype=np.uint8)
    image[45:56, 80:91] = 255  # to the right of the centre
    angles = []
    for index in range(300):
        rows, columns = np.nonzero(paper_views(image, 0, index)[3][..., 0] > 127)
        angles.append(np.degrees(np.arctan2(50 - rows.mean(), columns.mean() - 50)))
    counts, _ = np.histogram(angles, bins=6, range=(-180, 180))
    # 50 expected in each sixth, standard deviation 6.5.
    assert np.abs(counts - 50).max() < 5 * 6.5


def test_the_blurred_view_is_a_gaussian_over_three_pixels():
    image = np.zeros((9, 9, 3), dtype=np.uint8)
    image[4, 4] = 255
    centres = []
    for index in range(200):
        blurred = paper_views(image, 0, index)[4][..., 0].astype(float)
        assert not blurred[:3].any()
        assert not blurred[6:].any()
        np.testing.assert_array_equal(blurred, blurred.T)
        assert blurred.sum() == pytest.approx(255, abs=6)
        centres.append(blurred[4, 4] / 255)
    # Weight of the centre: 1 for sigma 0.1, (1 / (1 + 2 exp(-1/8)))^2 = 0.131 for sigma 2.
    assert 0.12 < min(centres) < 0.16
    assert max(centres) == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hflip", -0.1),
        ("vflip", 1.1),
        ("quarter_turns", 2),
        ("rotation_p", float("nan")),
        ("jitter_p", -1),
        ("grey_p", "often"),
        ("rotation", -5),
        ("rotation", 181),
        ("brightness", -0.1),
        ("contrast", None),
        ("hue", 0.6),
        ("hed", 1.5),
        ("scale", 1.0),
        ("blur_kernel", 4),
        ("blur_kernel", 3.0),
        ("blur_sigma", (2.0, 0.1)),
        ("blur_sigma", (0.1,)),
        ("blur_sigma", (0.0, 1.0)),
        ("blur_sigma", 1.0),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(UserError, match=rf"augment.*\.{name} "):
        AugmentSpec(**{name: value})


def test_albumentations_never_looks_for_updates():
    code = "import os, leukemia.data.augment; print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    assert result.stdout == "1\n"
