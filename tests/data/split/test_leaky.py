from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leukemia.classes import Classes
from leukemia.data.augment import paper_views
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.image.mask import MaskSpec
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.split.groups import identical_groups
from leukemia.data.split.guard import check_split
from leukemia.data.split.leaky import VIEWS, PooledDataModule, images_of, leaky_split, pool_views
from leukemia.data.split.parts import PARTS
from leukemia.data.split.protocols import stratified_split
from leukemia.errors import UserError
from tests.data.samples import counts, numbered, table

SIDE = 16


def leaky(manifest, seed=0, **changes):
    pooled = pool_views(manifest)
    groups = identical_groups(pooled.sha256)
    return pooled, leaky_split(pooled, groups, 2, seed=seed, **changes)


def image_of(file):
    return file.split("#")[0]


def test_each_image_becomes_five_rows_in_order():
    manifest = numbered(2)
    pooled = pool_views(manifest)
    assert len(pooled) == 20
    assert pooled.files[:5] == (
        "Benign/WBC-2-001.png",
        "Benign/WBC-2-001.png#flipped",
        "Benign/WBC-2-001.png#upside down",
        "Benign/WBC-2-001.png#rotated",
        "Benign/WBC-2-001.png#blurred",
    )
    assert pooled.sha256[5:10] == (manifest.sha256[1],) * 5
    assert images_of(pooled).files == manifest.files
    assert pooled.labels.tolist() == np.repeat(manifest.labels, 5).tolist()


def test_pooled_views_are_split_at_random_by_class_so_that_most_images_leak():
    pooled, split = leaky(numbered(40))
    assert counts(pooled, split) == {"train": [120, 120], "val": [40, 40], "test": [40, 40]}
    images = {part: {image_of(pooled.files[row]) for row in split.parts[part]} for part in PARTS}
    # Of a test view's four siblings one at least is in train with probability 0.98.
    assert len(images["test"] & images["train"]) > 0.9 * len(images["test"])


def test_paper_keeps_its_test_files_apart_and_pools_the_others_three_to_one():
    rows = [(label, n, f"{label} {n}") for label in (0, 1) for n in (*range(1, 201), 450, 451, 600)]
    pooled, split = leaky(table(*rows), test="paper")
    assert counts(pooled, split) == {"train": [750, 750], "val": [250, 250], "test": [2, 2]}
    assert {pooled.files[row][-7:] for row in split.parts["test"]} == {"450.png", "451.png"}
    images = {part: {image_of(pooled.files[row]) for row in split.parts[part]} for part in PARTS}
    assert not images["test"] & (images["train"] | images["val"])
    assert len(images["val"] & images["train"]) > 0.9 * len(images["val"])
    assert len(np.intersect1d(split.parts["val"], split.parts["train"])) == 0


@pytest.mark.parametrize("test", ["pooled", "paper"])
def test_the_leaky_split_follows_the_seed_and_not_the_order(test):
    rows = [(label, n, f"{label} {n}") for label in (0, 1) for n in (*range(1, 160), 450, 451)]
    manifest = table(*rows)
    found = []
    for seed, shown in (
        (0, manifest),
        (0, manifest.take(np.arange(len(rows))[::-1])),
        (1, manifest),
    ):
        pooled, split = leaky(shown, seed, test=test)
        found.append({pooled.files[row]: part for part in PARTS for row in split.parts[part]})
    assert found[0] == found[1] != found[2]


def test_only_the_protocol_leaky_lets_it_pass_the_guard():
    pooled, split = leaky(numbered(20))
    with pytest.raises(UserError, match=r"share no sha256.*WBC-2-003.png#upside down' \(train\)"):
        check_split(split, pooled)
    (warning,) = check_split(replace(split, protocol="leaky"), pooled).warnings
    assert warning.startswith("LEAKY SPLIT")


def test_an_unknown_test_part_is_named():
    with pytest.raises(UserError, match=r"split\.test to be pooled or paper, but got 'some'"):
        leaky(numbered(20), test="some")


def test_the_rows_are_the_five_views_of_the_preprocessed_images(tmp_path):
    rng = np.random.default_rng(0)
    for name in "AB":
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")

    def opened(kind, splitter):
        data = kind(
            tmp_path / "images",
            Classes(("A", "B"), benign="A"),
            Preprocess(MaskSpec("none"), size=SIDE),
            splitter,
            tmp_path / "cache",
            workers=2,
        )
        data.prepare_data()
        data.setup()
        return data.pixels()

    def splitter(manifest, groups):
        if len(manifest) == 12:
            return stratified_split(manifest, groups, 2, seed=0)
        return replace(leaky_split(manifest, groups, 2, seed=0), protocol="leaky")

    images, labels = opened(SmearDataModule, splitter)
    views, of_views = opened(PooledDataModule, splitter)
    assert of_views.tolist() == np.repeat(labels, len(VIEWS)).tolist()
    expected = np.concatenate([paper_views(image, 0, row) for row, image in enumerate(images)])
    np.testing.assert_array_equal(views, expected)
    np.testing.assert_array_equal(views[1], images[0][:, ::-1])
