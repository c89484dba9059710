"""Stain normalisation against torchstain, closed forms, and light that must not count."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from torchstain.numpy.normalizers import NumpyMacenkoNormalizer, NumpyReinhardNormalizer

from leukemia.classes import Classes
from leukemia.data.cache import open_pixels
from leukemia.data.files.images import read_image
from leukemia.data.files.manifest import build_manifest
from leukemia.data.image.mask import MaskSpec, apply_mask
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.image.stain import (
    Background,
    Macenko,
    Reinhard,
    find_glass,
    find_stains,
    find_tissue,
    to_lab,
)
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError

GLASS = (240.0, 240.0, 240.0)
VIOLET, PINK = np.array([0.7, 0.6, 0.3]), np.array([0.3, 0.8, 0.5])
METHODS = {
    "background": Background(GLASS),
    "reinhard": Reinhard((75.0, 8.0, -15.0), (9.0, 10.0, 9.0), GLASS),
    "reinhard all": Reinhard((80.0, 5.0, -8.0), (11.0, 8.0, 9.0), GLASS, "all"),
    "macenko": Macenko(((0.8, 0.5, 0.4), (0.4, 0.9, 0.1)), (0.5, 0.8), GLASS),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return paint_smears(tmp_path_factory.mktemp("painted") / "a", per_class=2, groups=2, size=112)


@pytest.fixture(scope="module")
def smears(folder):
    return [read_image(path) for path in sorted(folder.rglob("*.jpg"))]


def mixed(one, other, seed=0) -> np.ndarray:
    """Cells of two stains between glass, by Beer and Lambert's law."""
    rng = np.random.default_rng(seed)
    shares = np.zeros((2, 120, 120), np.float32)
    for _ in range(40):
        place = tuple(int(v) for v in rng.integers(0, 120, 2))
        amounts = rng.uniform(0.3, 0.8, 2) * [(1, 0), (0, 1), (1, 1)][int(rng.integers(3))]
        for share, amount in zip(shares, amounts, strict=True):
            cv2.circle(share, place, 9, float(amount), -1)
    density = np.tensordot(shares, np.stack([one, other]), axes=(0, 0))
    return np.rint(241 * np.exp(-density) - 1).astype(np.uint8)


def distance(one, other) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("light", [(0.7, 0.7, 0.7), (0.85, 1.0, 0.9), (1.0, 0.9, 0.8)])
def test_light_and_white_balance_hardly_count_any_more(method, light, smears):
    normalise = METHODS[method]
    for rgb in smears:
        changed = np.rint(rgb * np.array(light)).astype(np.uint8)
        before, after = distance(rgb, changed), distance(normalise(rgb), normalise(changed))
        assert before > 15
        assert after < 2


@pytest.mark.parametrize("pixels", ["tissue", "all"])
def test_reinhard_gives_the_target_s_mean_and_deviation(pixels, smears):
    mean, std = (72.0, 6.0, -12.0), (6.0, 5.0, 6.0)  # within reach of RGB: nothing is clipped
    for rgb in smears:
        where = np.ones(rgb.shape[:2], bool)
        if pixels == "tissue":
            where = find_tissue(rgb, find_glass(rgb))
            assert 0.2 < where.mean() < 0.9
        found = to_lab(Reinhard(mean, std, GLASS, pixels)(rgb))[where]
        np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.2)
        np.testing.assert_allclose(found.std(axis=0), std, atol=0.2)


def test_reinhard_over_all_pixels_is_torchstain_s(smears):
    reinhard = Reinhard((80.0, 5.0, -8.0), (11.0, 8.0, 9.0), pixels="all")
    theirs = NumpyReinhardNormalizer()
    theirs.target_means, theirs.target_stds = reinhard.mean, reinhard.std
    for rgb in smears:
        # It cuts off where we round.
        found = np.abs(reinhard(rgb).astype(int) - theirs.normalize(rgb))
        assert found.max() <= 2
        assert (found <= 1).mean() > 0.999


def test_macenko_is_torchstain_s_on_the_tissue():
    rgb = mixed(VIOLET, PINK)
    macenko = METHODS["macenko"]
    target = np.array(macenko.stains) / np.linalg.norm(macenko.stains, axis=1, keepdims=True)
    theirs = NumpyMacenkoNormalizer()
    theirs.HERef, theirs.maxCRef = target.T, np.array(macenko.concentrations)
    tissue = find_tissue(rgb, find_glass(rgb))
    normal, _, _ = theirs.normalize(rgb[tissue][None], Io=241, beta=0.05, stains=False)
    # It adds 1 to the levels before the logarithm, and does not take it off again.
    found = macenko(rgb)[tissue].astype(int) - (normal[0].astype(int) - 1)
    assert found.min() >= -1
    assert found.max() <= 1


def test_macenko_finds_two_stains_and_exchanges_them():
    other, third = np.array([0.8, 0.5, 0.2]), np.array([0.2, 0.9, 0.35])
    rgb, wanted = mixed(VIOLET, PINK), mixed(other, third)
    glass, stains, concentrations = find_stains(wanted)
    np.testing.assert_allclose(glass, GLASS)
    np.testing.assert_allclose(stains, [v / np.linalg.norm(v) for v in (other, third)], atol=0.06)
    target = tuple(tuple(row) for row in stains.tolist())
    found = Macenko(target, tuple(concentrations.tolist()), GLASS)(rgb)
    assert distance(rgb, wanted) > 4
    assert distance(found, wanted) < 0.5


def test_the_glass_gets_its_colour_and_densities_stay():
    rgb = mixed(VIOLET, PINK)
    found = Background((200.0, 220.0, 180.0))(rgb)
    np.testing.assert_allclose(find_glass(found), (200, 220, 180))
    factors = np.array([201, 221, 181]) / 241
    np.testing.assert_allclose(found + 1, (rgb + 1.0) * factors, atol=0.51)


def test_a_white_scale_bar_s_box_is_no_glass(smears):
    marked = smears[0].copy()
    marked[195:, 175:] = 255
    np.testing.assert_allclose(find_glass(marked), find_glass(smears[0]), atol=1)


def fields() -> dict[str, np.ndarray]:
    glass = np.full((60, 80, 3), 235, np.uint8)
    noise = np.random.default_rng(0).normal(0, 1, glass.shape)
    speck = glass.copy()
    speck[30, 40] = (120, 60, 150)
    return {
        "glass": glass,
        "noisy glass": np.clip(glass + noise, 0, 255).astype(np.uint8),
        "a speck": speck,
        "black": np.zeros((60, 80, 3), np.uint8),
        "white": np.full((60, 80, 3), 255, np.uint8),
        "dark": np.clip(12 + 3 * noise, 0, 255).astype(np.uint8),
        "a pixel": np.full((1, 1, 3), 90, np.uint8),
        "a line": np.random.default_rng(1).integers(0, 256, (2, 300, 3), dtype=np.uint8),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("field", fields())
def test_a_field_without_cells_keeps_its_colours_or_its_evenness(method, field):
    rgb = fields()[field]
    with np.errstate(all="raise"):
        found = METHODS[method](rgb)
    assert found.shape == rgb.shape
    assert found.dtype == np.uint8
    # Noise must not become a stain.
    if field != "a line" and found is not rgb:
        assert found.std(axis=(0, 1)).max() < 2 * rgb.std(axis=(0, 1)).max() + 1


def test_one_stain_alone_is_not_taken_for_two():
    grey = mixed(np.ones(3) * 0.6, np.ones(3) * 0.4)
    assert METHODS["macenko"](grey) is grey


@pytest.mark.parametrize("stain", METHODS.values(), ids=METHODS)
def test_the_mask_sees_the_normalised_image(stain, smears):
    size = smears[0].shape[0]
    spec = MaskSpec()
    for rgb in smears:
        found = Preprocess(spec, size=size, stain=stain)(rgb)
        np.testing.assert_array_equal(found, apply_mask(stain(rgb), spec))
    dim = (smears[0] * 0.7).astype(np.uint8)
    kept = [Preprocess(spec, size=size, stain=s)(dim).any(axis=2) for s in (None, stain)]
    bright = Preprocess(spec, size=size, stain=stain)(smears[0]).any(axis=2)
    assert (kept[1] != bright).mean() < 0.05 < (kept[0] != bright).mean()


def test_a_photograph_is_normalised_in_small_and_placed_by_its_normal_colours(smears):
    wide = cv2.resize(np.concatenate(smears[:2], axis=1), (896, 448))
    stain = METHODS["background"]
    found = Preprocess(MaskSpec("none"), size=112, stain=stain)(wide)
    np.testing.assert_array_equal(found, Preprocess(MaskSpec("none"), size=112)(stain(small(wide))))


def small(rgb):
    return cv2.resize(rgb, (224, 112), interpolation=cv2.INTER_AREA)


def test_grey_has_no_colour_and_keeps_what_is_dark(smears):
    found = Preprocess(MaskSpec("none"), size=112, grey=True)(smears[0])
    assert (np.ptp(found, axis=2) == 0).all()
    np.testing.assert_array_equal(found[..., 0], cv2.cvtColor(smears[0], cv2.COLOR_RGB2GRAY))


def test_each_setting_has_an_array_of_its_own_and_none_the_old_one(folder, tmp_path):
    ranges = "[[[130, 70, 215], [230, 170, 255]], [[90, 120, 100], [180, 200, 160]], "
    ranges += "[[100, 50, 100], [200, 150, 200]]]"
    assert Preprocess().key == (
        '[2, {"mask": {"order": "published", "ranges": ' + ranges + ', "background": 0.0}, '
        '"crop": "square", "size": 224, "scale_bar": "keep"}]'
    )
    manifest = build_manifest(folder, Classes())
    stains = [None, *METHODS.values(), Background((241.0, 240.0, 240.0))]
    settings = [Preprocess(size=32, stain=s, grey=g) for s in stains for g in (False, True)]
    assert len({one.key for one in settings}) == 12
    for one in settings[:4]:
        pixels = open_pixels(folder, manifest, one, tmp_path)
        np.testing.assert_array_equal(pixels[3], one(read_image(folder / manifest.files[3])))
    assert len(list(tmp_path.iterdir())) == 4


def test_images_that_cannot_be_normalised_are_counted_when_they_are_prepared(
    folder, tmp_path, capsys
):
    root = Path(shutil.copytree(folder, tmp_path / "images"))
    cv2.imwrite(str(root / "Pro/WBC-Pro-001.jpg"), np.full((64, 64, 3), 9, np.uint8))
    manifest = build_manifest(root, Classes())
    preprocess = Preprocess(size=64, stain=METHODS["macenko"])
    open_pixels(root, manifest, preprocess, tmp_path / "cache")
    assert "1 of 8 images keep their own colours" in capsys.readouterr().err
    open_pixels(root, manifest, Preprocess(size=64), tmp_path / "cache")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Background((0.0, 250.0, 250.0)), r"stain\.glass .* 3 numbers from 1 to 255"),
        (lambda: Background((250.0, 250.0)), r"stain\.glass"),
        (lambda: Background(250.0), r"stain\.glass .* 250\.0"),
        (lambda: Reinhard(("a", 0.0, 0.0), (1.0, 1.0, 1.0)), r"stain\.mean"),
        (lambda: Reinhard((70.0, 0.0, 0.0), (1.0, 0.0, 1.0)), r"stain\.std"),
        (lambda: Macenko(((1.0, 0.0, 0.0),), (1.0, 1.0), GLASS), r"stain\.stains .* two"),
        (lambda: Macenko(((0.7, 0.6, 0.3),) * 2, (1.0, 1.0), GLASS), r"stain\.stains .* two"),
        (lambda: Macenko((VIOLET[:2], PINK), (1.0, 1.0), GLASS), r"stain\.stains\[0\]"),
        (
            lambda: Macenko(((0.7, 0.6, 0.3), (0.3, 0.8, 0.5)), (0.0, 1.0), GLASS),
            r"stain\.concentrations",
        ),
    ],
)
def test_a_target_that_cannot_be_is_named(make, told):
    with pytest.raises(UserError, match=told):
        make()
