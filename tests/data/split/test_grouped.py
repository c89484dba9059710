import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from leukemia.data.split.grouped import grouped_split, kfold_split, share_out, shares_apart
from leukemia.data.split.groups import whole_groups
from leukemia.data.split.parts import PARTS
from leukemia.errors import UserError
from tests.data.samples import by_file, counts, imbalance, numbered, table

FRACTIONS = [0.6, 0.2, 0.2]


def related(sizes):
    """A manifest of groups; `sizes` are the images of each of two classes in each group."""
    rows, groups = [], []
    for group, size in enumerate(sizes):
        for label, n in enumerate(size):
            start = len(rows)
            rows += [(label, start + i, f"{group} {label} {i}") for i in range(n)]
            groups += [group] * n
    return table(*rows), np.array(groups)


group_size = st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(any)
group_sizes = st.lists(group_size, min_size=6, max_size=16)


# split=grouped ----------------------------------------------------------------------------


def test_grouped_finds_the_balance_and_tells_it():
    manifest, groups = related([(7, 1), (5, 11), (4, 4), (2, 2), (2, 2)])
    split = grouped_split(manifest, groups, 2, seed=0)
    assert counts(manifest, split) == {"train": [12, 12], "val": [4, 4], "test": [4, 4]}
    (note,) = split.notes
    assert "5 groups kept whole" in note
    found = counts(manifest, split)
    for label, name in enumerate(("'Benign'", "'Early'")):
        assert f"{name} {' / '.join(str(found[part][label]) for part in PARTS)}" in note


def test_the_note_names_the_class_and_part_furthest_from_its_due():
    manifest, groups = related([(6, 8), (2, 1), (2, 1)])
    (note,) = grouped_split(manifest, groups, 2, seed=0).notes
    assert "train holds 80.0% of class 'Early', not 60.0%" in note


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.filter_too_much])
@given(group_sizes, st.integers(0, 3))
def test_grouped_is_as_balanced_as_drawing_whole_groups_or_better(sizes, seed):
    manifest, groups = related(sizes)
    pool = whole_groups(range(len(manifest)), groups, manifest)
    drawn = share_out(pool, FRACTIONS, np.random.default_rng(seed))
    by_chance = np.array([np.bincount(manifest.labels[rows], minlength=2) for rows in drawn])
    assume(by_chance.min() > 0)  # what is drawn may lack a class; what is solved may not
    split = grouped_split(manifest, groups, 2, seed=seed)
    solved = np.array(list(counts(manifest, split).values()))
    assert solved.min() > 0
    assert imbalance(solved, FRACTIONS) <= imbalance(by_chance, FRACTIONS) + 0.01


def test_a_class_in_two_groups_cannot_be_in_three_parts():
    manifest, groups = related([(3, 3), (3, 3), (3, 0), (3, 0)])
    with pytest.raises(UserError, match="'Early' lies in 2: make smaller groups"):
        grouped_split(manifest, groups, 2, seed=0)


def test_groups_that_cannot_be_parted_are_told():
    # Every class lies in three groups, and yet only two parts can have both.
    manifest, groups = related([(3, 3), (3, 0), (3, 0), (0, 3)])
    with pytest.raises(UserError, match="'Early' lies in 2"):
        grouped_split(manifest, groups, 2, seed=0)
    manifest, groups = related([(3, 3), (3, 3), (3, 0), (0, 1)])
    split = grouped_split(manifest, groups, 2, seed=0)
    assert np.array(list(counts(manifest, split).values())).min() > 0


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.6, 0.3, 0.3), (1.0, 0.0, 0.0)])
def test_bad_fractions_are_named(fractions):
    manifest = numbered(10)
    with pytest.raises(UserError, match=r"split\.fractions"):
        grouped_split(manifest, np.arange(20), 2, seed=0, fractions=fractions)


# split=kfold ------------------------------------------------------------------------------


def all_folds(manifest, groups, folds, seed=0):
    return [
        kfold_split(manifest, groups, 2, seed=seed, folds=folds, fold=fold) for fold in range(folds)
    ]


@settings(deadline=None, max_examples=8)
@given(st.lists(group_size, min_size=6, max_size=10), st.integers(3, 4), st.integers(0, 3))
def test_every_image_is_in_test_once_and_validation_is_the_next_fold(sizes, folds, seed):
    manifest, groups = related(sizes)
    try:
        splits = all_folds(manifest, groups, folds, seed)
    except UserError as error:
        assert "lies in" in str(error) or "Found no way" in str(error)  # noqa: PT017
        assume(False)
    tests = [split.parts["test"] for split in splits]
    assert sorted(np.concatenate(tests).tolist()) == list(range(len(manifest)))
    for fold, split in enumerate(splits):
        assert split.parts["val"].tolist() == tests[(fold + 1) % folds].tolist()
        used = sorted(np.concatenate(list(split.parts.values())).tolist())
        assert used == list(range(len(manifest)))


@settings(deadline=None, max_examples=10)
@given(group_sizes, st.integers(0, 3))
def test_folds_are_as_balanced_as_those_of_scikit_learn_or_better(sizes, seed):
    manifest, groups = related(sizes)
    theirs = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
    reference = np.array(
        [
            np.bincount(manifest.labels[test], minlength=2)
            for _, test in theirs.split(groups, manifest.labels, groups)
        ]
        if min(np.bincount(manifest.labels, minlength=2)) >= 3
        else np.zeros((3, 2))
    )
    assume(reference.min() > 0)
    # Of three folds, one split shows all: as test, validation and training.
    split = kfold_split(manifest, groups, 2, seed=seed, folds=3, fold=0)
    ours = np.array(list(counts(manifest, split).values()))
    assert imbalance(ours, [1 / 3] * 3) <= imbalance(reference, [1 / 3] * 3) + 0.01


def test_single_images_make_equal_folds():
    manifest = numbered(50)
    for split in all_folds(manifest, np.arange(100), 5):
        assert counts(manifest, split) == {"train": [30, 30], "val": [10, 10], "test": [10, 10]}


def test_folds_follow_the_seed():
    manifest = numbered(50)
    files = [
        by_file(manifest, kfold_split(manifest, np.arange(100), 2, seed=seed, fold=1))
        for seed in (0, 0, 1)
    ]
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"folds": 2}, "split.folds to be 3 or more"),
        ({"folds": 4.5}, "split.folds"),
        ({"fold": 5}, "split.fold to be from 0 to 4, but got 5"),
        ({"fold": -1}, "split.fold"),
        ({"folds": 51}, "'Benign' lies in 50: make smaller groups, take fewer folds"),
    ],
)
def test_a_bad_setting_of_folds_is_named(changes, told):
    with pytest.raises(UserError, match=told):
        kfold_split(numbered(50), np.arange(100), 2, seed=0, **changes)


def test_shares_are_told_with_as_many_digits_as_tell_them_apart():
    assert shares_apart(0.8, 0.6) == ("80.0%", "60.0%")
    assert shares_apart(0.60042, 0.6) == ("60.04%", "60.00%")
    assert shares_apart(0.5999, 0.6) == ("59.99%", "60.00%")
    assert shares_apart(0.6, 0.6) == ("60.0%", "60.0%")


def test_the_note_never_sets_a_number_against_itself():
    manifest, groups = related([(1, 1)] * 1001)
    (note,) = grouped_split(manifest, groups, 2, seed=0).notes
    held, due = re.search(r"holds (\S+) of class \S+, not (\S+)\.", note).groups()
    assert held != due
    manifest, groups = related([(3, 3), (1, 1), (1, 1)])
    (note,) = grouped_split(manifest, groups, 2, seed=0).notes
    assert note.endswith("Every part holds its due of every class.")
