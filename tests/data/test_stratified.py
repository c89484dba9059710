"""split=stratified, and data.balance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukemia.data.files.manifest import Manifest
from leukemia.data.split.groups import identical_groups
from leukemia.data.split.guard import check_split
from leukemia.data.split.parts import PARTS, Split
from leukemia.data.split.protocols import balance, stratified_split
from leukemia.errors import UserError
from tests.data.samples import assert_disjoint, by_file, counts, numbered, numbers, table


def stratified(manifest: Manifest, seed: int = 0, **changes) -> Split:
    groups = identical_groups(manifest.sha256)
    return stratified_split(manifest, groups, 2, seed=seed, **changes)


def test_every_class_is_split_in_the_same_proportions():
    manifest = numbered(50)
    assert counts(manifest, stratified(manifest)) == {
        "train": [30, 30],
        "val": [10, 10],
        "test": [10, 10],
    }
    assert counts(manifest, stratified(manifest, fractions=(0.8, 0.1, 0.1))) == {
        "train": [40, 40],
        "val": [5, 5],
        "test": [5, 5],
    }


def test_stratified_follows_the_seed_and_zero_is_one():
    manifest = numbered(50)
    splits = [by_file(manifest, stratified(manifest, seed)) for seed in (0, 0, 1, 2)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2] != splits[3] != splits[0]


def test_classes_and_purposes_are_drawn_apart():
    manifest = numbered(50)
    split = stratified(manifest)
    assert numbers(manifest, split, "test", 0) != numbers(manifest, split, "test", 1)


@st.composite
def any_with_copies(draw: st.DrawFn) -> Manifest:
    """Two classes with copies inside and across them, each with three images of its own."""
    rows = []
    for label in (0, 1):
        own = [f"{label}-{i}" for i in range(3)]
        more = draw(st.lists(st.integers(0, 12).map(str), max_size=25))
        rows += [(label, number, content) for number, content in enumerate(own + more)]
    return table(*draw(st.permutations(rows)))


@settings(deadline=None)
@given(any_with_copies(), st.integers(0, 9))
def test_stratified_is_complete_disjoint_balanced_and_blind_to_order(manifest, seed):
    split = stratified(manifest, seed)
    assert_disjoint(manifest, split)
    used = by_file(manifest, split)
    assert set(used) == set(manifest.files)
    check_split(split, manifest)

    order = np.random.default_rng(seed).permutation(len(manifest))
    shuffled = manifest.take(order)
    assert by_file(shuffled, stratified(shuffled, seed)) == used

    # A group with several labels counts in the first of them.
    first = {}
    for sha256, label in zip(manifest.sha256, manifest.labels.tolist(), strict=True):
        first[sha256] = min(label, first.get(sha256, label))
    counted = np.array([first[sha256] for sha256 in manifest.sha256])
    largest = max(manifest.sha256.count(sha256) for sha256 in manifest.sha256)
    for part, fraction in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        for label in (0, 1):
            due = fraction * (counted == label).sum()
            assert abs((counted[split.parts[part]] == label).sum() - due) <= 2 * largest


@pytest.mark.parametrize(
    "fractions",
    [(0.6, 0.2), (0.6, 0.2, 0.3), (0.8, 0.2, 0.0), (1.2, -0.1, -0.1), (0.6, 0.4, float("nan"))],
)
def test_bad_fractions_are_named(fractions):
    with pytest.raises(UserError, match=r"split\.fractions"):
        stratified(numbered(10), fractions=fractions)


def test_groups_of_several_classes_are_refused_unless_they_are_copies_of_one_image():
    # Ten patients with three images of each class: pooled by group, one class would be empty.
    manifest = numbered(30)
    patients = np.tile(np.repeat(np.arange(10), 3), 2)
    told = r"'Benign/WBC-2-\d+.png' and 'Early/WBC-2-\d+.png' are in one group of 6.*split=grouped"
    with pytest.raises(UserError, match=told):
        stratified_split(manifest, patients, 2, seed=0)
    copies = numbered(30, {(1, number): (0, number) for number in range(1, 11)})
    assert counts(copies, stratified(copies))["test"][1] >= 4


def test_a_class_too_small_to_split_is_named():
    manifest = table((0, 1, "a"), (0, 2, "b"), (0, 3, "c"), (1, 1, "d"), (1, 2, "d"), (1, 3, "e"))
    with pytest.raises(UserError, match="class 'Early' has 2"):
        stratified(manifest)


def uneven() -> tuple[Manifest, Split]:
    manifest = numbered(50).take([*range(20), *range(50, 100)])
    return manifest, stratified(manifest)


def test_balance_keeps_equally_many_of_each_class():
    manifest, split = uneven()
    assert counts(manifest, split) == {"train": [12, 30], "val": [4, 10], "test": [4, 10]}
    balanced = balance(split, manifest, 2, 0)
    assert counts(manifest, balanced) == {"train": [12, 12], "val": [4, 4], "test": [4, 4]}
    for part in PARTS:
        assert set(balanced.parts[part]) <= set(split.parts[part])
    assert balanced.notes == ("data.balance left out 18 of train, 6 of val, 6 of test.",)
    assert_disjoint(manifest, balanced)


def test_balance_follows_the_seed_and_not_the_order():
    manifest, split = uneven()
    kept = by_file(manifest, balance(split, manifest, 2, 0))
    assert by_file(manifest, balance(split, manifest, 2, 0)) == kept
    assert by_file(manifest, balance(split, manifest, 2, 1)) != kept
    turned = manifest.take(np.arange(len(manifest))[::-1])
    assert by_file(turned, balance(stratified(turned), turned, 2, 0)) == kept


def test_balance_of_equal_classes_changes_nothing():
    manifest = numbered(50)
    split = stratified(manifest)
    assert by_file(manifest, balance(split, manifest, 2, 0)) == by_file(manifest, split)


def test_balance_refuses_to_empty_a_part():
    manifest = numbered(3)
    split = Split(
        {"train": np.array([0, 3]), "val": np.array([1]), "test": np.array([2, 5])},
        np.arange(6),
    )
    with pytest.raises(UserError, match=r"data\.balance.*'val'.*class 'Early'"):
        balance(split, manifest, 2, 0)
