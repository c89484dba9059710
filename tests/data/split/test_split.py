"""split=paper; and both splits of the real images."""

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from leukemia.classes import Classes
from leukemia.data.files.manifest import Manifest, build_manifest
from leukemia.data.split.groups import identical_groups
from leukemia.data.split.guard import check_split
from leukemia.data.split.parts import PARTS, Split
from leukemia.data.split.protocols import paper_split, stratified_split
from leukemia.errors import UserError
from tests.data.samples import assert_disjoint, by_file, numbered, numbers

SMALL = {"train_numbers": (1, 8), "test_numbers": (9, 10), "n_val": 2, "block_start": 7}


def paper(manifest: Manifest, *, seed: int = 0, **changes) -> Split:
    groups = identical_groups(manifest.sha256)
    return paper_split(manifest, groups, 2, seed=seed, **{**SMALL, **changes})


def test_a_block_takes_its_numbers_and_test_the_last_ones():
    manifest = numbered(12)
    split = paper(manifest, validation="block", block_start=4)
    for label in (0, 1):
        assert numbers(manifest, split, "train", label) == [1, 2, 3, 6, 7, 8]
        assert numbers(manifest, split, "val", label) == [4, 5]
        assert numbers(manifest, split, "test", label) == [9, 10]
    assert split.notes == ()


def test_random_validation_has_its_number_in_each_class_and_follows_the_seed():
    manifest = numbered(12)
    splits = [paper(manifest, seed=seed) for seed in (0, 0, 1, 2)]
    for split in splits:
        for label in (0, 1):
            val = numbers(manifest, split, "val", label)
            train = numbers(manifest, split, "train", label)
            assert len(val) == 2
            assert sorted(val + train) == [1, 2, 3, 4, 5, 6, 7, 8]
            assert numbers(manifest, split, "test", label) == [9, 10]
    assert by_file(manifest, splits[0]) == by_file(manifest, splits[1])
    assert len({tuple(split.parts["val"]) for split in (splits[0], *splits[2:])}) == 3


def test_random_validation_keeps_copies_together_and_its_number():
    pairs = {(0, 2): (0, 1), (0, 4): (0, 3), (0, 6): (0, 5), (0, 8): (0, 7)}
    manifest = numbered(10, pairs)
    for seed in range(5):
        split = paper(manifest, seed=seed)
        assert_disjoint(manifest, split)
        first, second = numbers(manifest, split, "val", 0)
        assert (first % 2, second) == (1, first + 1)


def test_the_training_copy_of_a_test_file_is_left_out_and_noted():
    manifest = numbered(10, {(0, 3): (0, 9)})
    split = paper(manifest, validation="block")
    assert numbers(manifest, split, "train", 0) == [1, 2, 4, 5, 6]
    assert numbers(manifest, split, "test", 0) == [9, 10]
    (note,) = split.notes
    assert "'Benign/WBC-2-003.png' (copy of 'Benign/WBC-2-009.png')" in note


def test_the_training_copy_of_a_validation_file_is_left_out_and_noted():
    manifest = numbered(10, {(0, 3): (0, 7)})
    split = paper(manifest, validation="block")
    assert numbers(manifest, split, "train", 0) == [1, 2, 4, 5, 6]
    assert numbers(manifest, split, "val", 0) == [7, 8]
    (note,) = split.notes
    assert "'Benign/WBC-2-003.png' (copy of 'Benign/WBC-2-007.png')" in note


def test_the_validation_copy_of_a_test_file_is_left_out_and_noted():
    manifest = numbered(10, {(0, 7): (1, 9)})
    split = paper(manifest, validation="block")
    assert numbers(manifest, split, "val", 0) == [8]
    assert numbers(manifest, split, "test", 1) == [9, 10]
    notes = " ".join(split.notes)
    assert "'Benign/WBC-2-007.png' (copy of 'Early/WBC-2-009.png')" in notes
    assert "Copies with different labels" in notes
    assert "Class 'Benign' has 1 validation images, not 2" in notes


def test_copies_with_different_labels_stay_in_training():
    manifest = numbered(10, {(1, number): (0, number) for number in range(1, 6)})
    for seed in range(5):
        split = paper(manifest, seed=seed)
        assert_disjoint(manifest, split)
        for label in (0, 1):
            assert set(numbers(manifest, split, "train", label)) >= {1, 2, 3, 4, 5}
            assert len(numbers(manifest, split, "val", label)) == 2


def test_missing_numbers_are_noted():
    manifest = numbered(10).take([*range(3), *range(4, 20)])
    assert paper(manifest).notes == ("Class 'Benign' has 7 files numbered 1 to 8, not 8.",)


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ([r for r in range(20) if r not in (18, 19)], "'Early' has no file for part 'test'"),
        ([r for r in range(20) if r not in range(10, 18)], "'Early' has no file for part 'train'"),
        (range(10), "number 1 has no file for part 'train'"),
    ],
)
def test_data_without_the_numbers_is_sent_to_another_split(kept, told):
    with pytest.raises(UserError) as caught:
        paper(numbered(10).take(list(kept)))
    assert told in str(caught.value)
    assert "Aria et al." in str(caught.value)
    assert "split=stratified" in str(caught.value)


def test_a_file_without_a_number_is_named():
    manifest = Manifest(("Benign 1/cell.png",), np.array([0]), np.ones((1, 2), np.int64), ("x",))
    with pytest.raises(UserError, match=r"'Benign 1/cell.png' has no number.*split=stratified"):
        paper(manifest)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"validation": "blocks"}, "split.validation"),
        ({"n_val": 0}, "split.n_val"),
        ({"n_val": 8}, "split.n_val"),
        ({"n_val": 2.5}, "split.n_val"),
        ({"n_val": "two"}, "split.n_val"),
        ({"validation": "block", "block_start": "last"}, "split.block_start"),
        ({"validation": "block", "block_start": 0}, "split.block_start"),
        ({"validation": "block", "block_start": 8}, "split.block_start"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_bad_setting_of_the_paper_split_is_named(changes, told):
    with pytest.raises(UserError, match=told):
        paper(numbered(10), **changes)


@st.composite
def numbered_with_copies(draw: st.DrawFn) -> Manifest:
    name = st.tuples(st.integers(0, 1), st.integers(1, 10))
    return numbered(10, draw(st.dictionaries(name, name, max_size=8)))


@settings(deadline=None)
@given(numbered_with_copies(), st.sampled_from(["random", "block"]), st.integers(0, 9))
def test_the_paper_split_never_leaks_and_drops_only_copies(manifest, validation, seed):
    try:
        split = paper(manifest, seed=seed, validation=validation)
    except UserError:  # so many copies that a class has no validation image left
        reject()
    assert_disjoint(manifest, split)
    used = by_file(manifest, split)
    held_out = {manifest.sha256[row] for part in ("val", "test") for row in split.parts[part]}
    for row, file in enumerate(manifest.files):
        if int(file[-7:-4]) > 8:
            assert used[file] == "test"
        elif file not in used:
            assert manifest.sha256[row] in held_out
            assert f"'{file}'" in " ".join(split.notes)
    order = np.random.default_rng(seed).permutation(len(manifest))
    shuffled = manifest.take(order)
    assert by_file(shuffled, paper(shuffled, seed=seed, validation=validation)) == used


@pytest.fixture(scope="module")
def real(aria, tmp_path_factory) -> Manifest:
    return build_manifest(aria, Classes(), cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("validation", ["random", "block"])
def test_the_paper_split_of_the_real_images(real, validation):
    groups = identical_groups(real.sha256)
    split = paper_split(real, groups, 4, seed=0, validation=validation)
    assert {part: len(rows) for part, rows in split.parts.items()} == {
        "train": 1200,
        "val": 400,
        "test": 400,
    }
    # All 40 pairs of copies lie within numbers 1 to 189 of Pro, so nothing is left out.
    assert split.notes == ()
    for part in PARTS:
        assert len(set(np.bincount(real.labels[split.parts[part]]))) == 1
    assert_disjoint(real, split)
    check_split(split, real)
    found = {int(real.files[row][-7:-4]) for row in split.parts["test"]}
    assert found == set(range(401, 501))
    if validation == "block":
        found = {int(real.files[row][-7:-4]) for row in split.parts["val"]}
        assert found == set(range(301, 401))


def test_the_stratified_split_of_the_real_images(real):
    split = stratified_split(real, identical_groups(real.sha256), 4, seed=0)
    assert_disjoint(real, split)
    assert sum(len(rows) for rows in split.parts.values()) == 2604
    assert len(np.unique(split.groups)) == 2564
    found = {p: np.bincount(real.labels[split.parts[p]]).tolist() for p in PARTS}
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        for n, all_of_class in zip(found[part], (504, 700, 700, 700), strict=True):
            assert abs(n - share * all_of_class) <= 1
