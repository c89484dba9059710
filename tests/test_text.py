"""Names from disk on a terminal and in a spreadsheet."""

import pickle

import pytest

from leukemia.data.files.images import name_some
from leukemia.errors import UserError
from leukemia.text import as_cell, as_words, from_cell, visible

NAMES = ("=cmd|' /C calc'!A0.png", "+1.png", "-1.png", "@SUM(A1).png", "\tx.png", "\uff1d1")


def test_what_acts_on_a_terminal_is_spelt_out_and_letters_stay():
    assert visible("a\x1b[31mb\nc\x07\u202ed\x9b") == r"a\x1b[31mb\nc\x07\u202ed\x9b"
    assert visible("Zellen, łódź, 血液, سلول (1) [a]") == "Zellen, łódź, 血液, سلول (1) [a]"
    assert visible("\udcff") == r"\udcff"


def test_a_user_s_error_is_one_line_whatever_a_file_is_called():
    error = UserError("'a\n\x1b[2Jb' is no image.")
    assert str(error) == r"'a\n\x1b[2Jb' is no image."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert name_some(["a\x1b", "b"]) == r"a\x1b; b"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_formula_and_reads_back(name: str):
    assert as_cell(name) == f"./{name}"
    assert from_cell(as_cell(name)) == name
    assert as_words(name) == f"'{name}"


@pytest.mark.parametrize("name", ["Pre/a-1.png", "/images/=a.png", "a=b.png", "'x'"])
def test_other_names_stay(name: str):
    assert as_cell(name) == from_cell(name) == as_words(name) == name


def test_negative_numbers_stay_numbers():
    assert as_words("-1e-3") == "-1e-3"
    assert as_words("-1+1") == "'-1+1"
