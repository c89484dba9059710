import cv2
import numpy as np
import pytest

from leukemia.data.image.perturb import MODERATE, STAIN
from leukemia.data.synthetic import paint_smears

SEED = (0, 7)


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    root = tmp_path_factory.mktemp("painted")
    paint_smears(root, per_class=1, seed=0)
    files = sorted(root.rglob("*.*"))
    read = [cv2.imread(str(file)) for file in files if file.suffix in (".png", ".jpg")]
    return [np.ascontiguousarray(image[..., ::-1]) for image in read][:2]


def distance(one, other):
    return np.abs(one.astype(float) - other).mean()


@pytest.mark.parametrize("name", STAIN)
def test_a_stronger_change_moves_the_image_further(name, smears):
    rgb, donor = smears
    before = rgb.copy()
    changed = [STAIN[name](rgb, strength, SEED, donor) for strength in range(1, 6)]
    np.testing.assert_array_equal(rgb, before)
    assert all(image.shape == rgb.shape and image.dtype == np.uint8 for image in changed)
    moved = [distance(rgb, image) for image in changed]
    if name == "scale bar":  # painted smears have none
        assert max(moved) == 0
    else:
        assert moved[0] > 0
        assert moved == sorted(moved)


@pytest.mark.parametrize("name", STAIN)
def test_the_same_seed_gives_the_same_change(name, smears):
    rgb, donor = smears
    one, other = (STAIN[name](rgb, 3, SEED, donor) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["hue", "saturation", "contrast", "white balance"])
def test_both_directions_are_drawn(name, smears):
    rgb, donor = smears
    made = {STAIN[name](rgb, 3, (0, row), donor).tobytes() for row in range(12)}
    assert len(made) == 2


def test_brightness_is_multiplied():
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)
    assert (STAIN["darker"](grey, 5, SEED, grey) == 60).all()
    assert (STAIN["brighter"](grey, 5, SEED, grey) == 140).all()


def test_all_grey_is_grey(smears):
    changed = STAIN["grey"](smears[0], 5, SEED, smears[1])
    assert np.ptp(changed, axis=2).max() == 0


def test_the_whole_way_to_another_stain_takes_its_mean_and_deviation():
    # Soft colours, so that nothing is clipped on the way.
    rng = np.random.default_rng(0)
    rgb = rng.integers(90, 130, (64, 64, 3), dtype=np.uint8)
    donor = rng.integers(130, 180, (64, 64, 3), dtype=np.uint8)
    changed = STAIN["stain"](rgb, 5, SEED, donor)
    labs = [cv2.cvtColor(x.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for x in (changed, donor)]
    np.testing.assert_allclose(labs[0].mean((0, 1)), labs[1].mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(labs[0].std((0, 1)), labs[1].std((0, 1)), atol=0.5)


def test_the_moderate_half_is_the_milder_one():
    assert MODERATE == (1, 2, 3)
