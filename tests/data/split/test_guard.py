from dataclasses import replace

import numpy as np
import pytest

from leukemia.data.files.manifest import Manifest
from leukemia.data.split.guard import check_split
from leukemia.data.split.parts import Split
from leukemia.errors import UserError
from tests.data.split.test_parts import GOOD, GROUPS, MANIFEST, refusal, split_of


def test_disjoint_parts_pass():
    check_split(GOOD, MANIFEST)


def test_a_shared_file_is_named_with_its_parts():
    message = refusal(check_split, split_of([0, 4], [1, 5], [2, 4, 6]), MANIFEST)
    assert "share no file" in message
    assert "'Early/1.png' (train) and 'Early/1.png' (test)" in message


def test_a_shared_hash_is_named_as_a_pair():
    apart = np.arange(8)
    message = refusal(check_split, split_of([0, 2, 4], [1, 5], [3, 6], apart), MANIFEST)
    assert "share no sha256" in message
    assert "'Benign/3.png' (train) and 'Benign/4.png' (test)" in message


def test_a_shared_group_is_named_as_a_pair():
    groups = np.array([0, 1, 2, 2, 3, 3, 5, 6])
    message = refusal(check_split, split_of([0, 4], [1, 5], [2, 6], groups), MANIFEST)
    assert "share no group" in message
    assert "'Early/1.png' (train) and 'Early/2.png' (val)" in message


SHARED_GROUP = split_of([0, 4], [1, 5], [2, 6], np.array([0, 1, 2, 2, 3, 3, 3, 6]))
SHARED_COPY = split_of([0, 2, 4], [1, 5], [3, 6])
SHARED_FILE = split_of([0, 4], [1, 5], [2, 4, 6])


@pytest.mark.parametrize("protocol", ["stratified", "grouped", "kfold", "file", ""])
@pytest.mark.parametrize("leak", [SHARED_FILE, SHARED_COPY, SHARED_GROUP])
def test_other_protocols_may_share_nothing(protocol, leak):
    with pytest.raises(UserError, match="share no"):
        check_split(replace(leak, protocol=protocol), MANIFEST)


@pytest.mark.parametrize("leak", [SHARED_FILE, SHARED_COPY])
def test_the_paper_split_may_share_no_file_and_no_copy(leak):
    with pytest.raises(UserError, match="share no"):
        check_split(replace(leak, protocol="paper"), MANIFEST)


def test_the_leaky_split_may_not_share_a_file():
    with pytest.raises(UserError, match="share no file"):
        check_split(replace(SHARED_FILE, protocol="leaky"), MANIFEST)


def test_groups_that_cross_the_paper_split_are_counted_and_named_in_a_warning():
    # Rows 4, 5 and 6 are of one group; in train, val and test they make three pairs.
    (warning,) = check_split(replace(SHARED_GROUP, protocol="paper"), MANIFEST).warnings
    assert "1 groups of related images lie in more than one part (3 pairs" in warning
    assert "'Early/1.png' (train) and 'Early/2.png' (val)" in warning
    assert "split=paper takes file numbers as published" in warning


def test_copies_that_cross_the_leaky_split_make_a_warning():
    (warning,) = check_split(replace(SHARED_COPY, protocol="leaky"), MANIFEST).warnings
    assert warning.startswith("LEAKY SPLIT: 1 groups")
    assert "'Benign/3.png' (train) and 'Benign/4.png' (test)" in warning


@pytest.mark.parametrize("protocol", ["paper", "leaky", "stratified"])
def test_disjoint_parts_make_no_warning(protocol):
    assert check_split(replace(GOOD, protocol=protocol), MANIFEST).warnings == ()


def test_many_shared_files_are_counted():
    many = Manifest(
        tuple(f"A/{i}.png" for i in range(60)),
        np.zeros(60, np.int64),
        np.ones((60, 2), np.int64),
        tuple(map(str, range(60))),
    )
    split = split_of(range(30), range(30, 60), range(25), np.arange(60))
    message = refusal(check_split, split, many)
    assert "but 25 are shared" in message
    assert "and 5 more" in message


@pytest.mark.parametrize("empty", ["train", "val", "test"])
def test_an_empty_part_is_named(empty):
    parts = {**GOOD.parts, empty: np.array([], dtype=np.int64)}
    assert f"'{empty}' is empty" in refusal(check_split, Split(parts, GROUPS), MANIFEST)


def test_a_class_that_train_lacks_is_named():
    assert "no image of 'Early'" in refusal(check_split, split_of([0], [1, 5], [2, 6]), MANIFEST)
