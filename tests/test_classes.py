"""The class scheme: one benign class, several, or none."""

import pytest

from leukemia.classes import CANCER_FIGURES, Classes, without_cancer
from leukemia.errors import UserError

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("benign", "kept", "cancers"),
    [
        ("b", "b", ("a", "c", "d")),
        (("b",), "b", ("a", "c", "d")),
        (("d", "a", "d"), ("a", "d"), ("b", "c")),
        (None, None, ()),
        ((), None, ()),
    ],
)
def test_benign_is_one_name_several_or_none(benign, kept, cancers):
    classes = Classes(NAMES, benign)
    assert classes.benign == kept
    assert classes.cancers == cancers
    assert classes.has_cancer == bool(cancers)
    assert set(classes.benigns) | set(cancers) == (set(NAMES) if cancers else set())
    assert classes.benign_labels == tuple(NAMES.index(name) for name in classes.benigns)
    assert Classes.from_dict(classes.to_dict()) == classes


def test_what_is_said_alike_is_equal():
    assert Classes(NAMES, ("d", "a")) == Classes(NAMES, ("a", "d"))
    assert Classes(NAMES, ("a",)) == Classes(NAMES, "a") != Classes(NAMES, None)


@pytest.mark.parametrize(
    ("names", "benign", "told"),
    [
        (NAMES, ("a", "e"), "several of them, or null for none, but got 'e'"),
        (NAMES, NAMES, "data.classes.benign=null for a plain classifier"),
        (("a",), None, "two or more different names"),
        (("a", "cancer", "c"), "a", "called 'cancer'"),
    ],
)
def test_what_could_tell_nothing_is_refused(names, benign, told):
    with pytest.raises(UserError) as raised:
        Classes(names, benign)
    assert told in str(raised.value)


def test_one_class_may_be_called_cancer():
    assert Classes(("healthy", "cancer"), "healthy").cancers == ("cancer",)


def test_figures_of_cancer_are_left_out_where_no_class_is_benign():
    names = ["accuracy", *CANCER_FIGURES, "nll"]
    assert without_cancer(names, Classes(NAMES, None)) == ["accuracy", "nll"]
    assert without_cancer(names, Classes(NAMES, "a")) == names
