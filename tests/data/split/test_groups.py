import numpy as np

from leukemia.data.files.manifest import Manifest
from leukemia.data.split.groups import identical_groups, label_conflicts


def test_identical_files_share_an_id_in_order_of_first_appearance():
    groups = identical_groups(["c", "a", "c", "b", "a"])
    assert groups.tolist() == [0, 1, 0, 2, 1]
    assert groups.dtype == np.int64


def test_no_file_has_no_group():
    assert identical_groups([]).tolist() == []


def test_copies_with_different_labels_are_noted():
    sha256 = ("x", "y", "x", "y")
    manifest = Manifest(
        ("A/1.png", "A/2.png", "B/1.png", "A/3.png"),
        np.array([0, 0, 1, 0]),
        np.ones((4, 2), np.int64),
        sha256,
    )
    (note,) = label_conflicts(manifest)
    assert note == "Copies with different labels: 'A/1.png' and 'B/1.png'."
