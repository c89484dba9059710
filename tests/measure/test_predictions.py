import csv
import math

import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions, read_predictions
from tests.report.samples import ABC, random_predictions, toy


def test_the_file_has_the_columns_of_the_contract(tmp_path):
    path = tmp_path / "predictions" / "val.csv"
    toy().write(path)
    assert path.read_text().splitlines()[:3] == [
        "file,label,p_A,p_B,p_C,p_cancer,prediction",
        "a1,A,0.75,0.25,0.0,0.25,A",
        "a2,A,0.25,0.75,0.0,0.75,B",
    ]
    random_predictions(8).write(path)
    assert path.read_text().splitlines()[0] == (
        "file,label,p_Benign,p_Early,p_Pre,p_Pro,p_cancer,prediction"
    )


def test_cancer_is_all_that_is_not_benign_wherever_benign_stands():
    rows = np.array([[0.5, 0.2, 0.3]])
    p = Predictions(("x",), np.array([0]), rows, Classes(("A", "B", "C"), benign="C"))
    assert p.p_cancer == pytest.approx([0.7])


def test_cancer_is_every_class_but_the_benign_one():
    rows = np.full((3, 3), 1 / 3)
    p = Predictions(("x", "y", "z"), np.array([0, 1, 2]), rows, Classes(("A", "B", "C"), "B"))
    assert p.cancer.tolist() == [True, False, True]


def test_p_cancer_keeps_its_order_far_below_the_rounding_of_1():
    rows = np.array([[1.0, 1e-20, 0.0], [1.0, 1e-30, 0.0]])
    p = Predictions(("x", "y"), np.array([0, 0]), rows, ABC)
    assert p.p_cancer.tolist() == [1e-20, 1e-30]


def test_what_is_read_equals_what_was_written_to_the_last_bit(tmp_path):
    p = random_predictions(300)
    p.write(tmp_path / "val.csv")
    back = read_predictions(tmp_path / "val.csv", p.classes)
    assert back.files == p.files
    assert (back.labels == p.labels).all()
    assert (back.probabilities == p.probabilities).all()
    assert summarize(back) == summarize(p)


def test_float32_probabilities_give_the_figures_of_the_file(tmp_path):
    p = random_predictions(50)
    half = Predictions(p.files, p.labels, p.probabilities.astype(np.float32), p.classes)
    half.write(tmp_path / "val.csv")
    assert summarize(read_predictions(tmp_path / "val.csv", p.classes)) == summarize(half)


def test_figures_follow_from_the_text_of_the_file_alone(tmp_path):
    p = random_predictions(300)
    p.write(tmp_path / "val.csv")
    with (tmp_path / "val.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    m = summarize(p)
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert m["accuracy"] == pytest.approx(right / 300, abs=1e-12)
    nll = -sum(math.log(float(row["p_" + row["label"]])) for row in rows) / 300
    assert m["nll"] == pytest.approx(nll, abs=1e-12)
    for row, cancer in zip(rows, p.p_cancer, strict=True):
        assert float(row["p_cancer"]) == cancer


def test_odd_file_names_survive(tmp_path):
    names = ("a,b.jpg", 'say "x".jpg', "two\nlines.jpg", "blød/µ 血.jpg")
    p = Predictions(names, np.zeros(4, dtype=np.int64), np.eye(3)[[0, 0, 1, 2]], ABC)
    p.write(tmp_path / "val.csv")
    assert read_predictions(tmp_path / "val.csv", ABC).files == names


def test_a_mark_that_a_spreadsheet_left_does_no_harm(tmp_path):
    path = tmp_path / "val.csv"
    toy().write(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_predictions(path, ABC).files == toy().files


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("p_B,", "q_B,", r"columns \['p_B'\], but it has \['file', 'label', 'p_A', 'q_B'"),
        (",prediction", ",prediction,p_D", r"only, but it has the columns \['p_D'\]"),
        ("a2,A", "a2,Z", r"label of file 'a2' to be one of \['A', 'B', 'C'\], but got 'Z'"),
        ("a1,A,0.75", "a1,A,0.7", "sum to 1 for file 'a1', but got 0.95"),
        ("a1,A,0.75", "a1,A,nan", r"probabilities in \[0, 1\] for file 'a1', but got \[nan"),
        ("a1,A,0.75,0.25", "a1,A,1.25,-0.25", r"in \[0, 1\] for file 'a1', but got \[1.25"),
        ("a1,A,0.75", "a1,A,high", "p_A of file 'a1' to be a number, but got 'high'"),
        ("a1,A,0.75,0.25,0.0,0.25,A", "a1,A,0.75", "p_B of file 'a1' to be a number"),
    ],
)
def test_a_bad_table_is_refused_with_its_path_and_file(tmp_path, old, new, message):
    path = tmp_path / "val.csv"
    toy().write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        read_predictions(path, ABC)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_many_bad_rows_are_counted(tmp_path):
    with pytest.raises(UserError, match=r"'x', but got \[nan, nan, nan\] \(3 such rows\)"):
        Predictions(("x", "y", "z"), np.zeros(3, dtype=np.int64), np.full((3, 3), np.nan), ABC)


def test_a_table_without_rows_a_missing_one_and_one_that_is_no_text_are_refused(tmp_path):
    path = tmp_path / "val.csv"
    with pytest.raises(UserError, match=r"val\.csv, but cannot read it"):
        read_predictions(path, ABC)
    path.write_text("file,label,p_A,p_B,p_C,p_cancer,prediction\n")
    with pytest.raises(UserError, match="at least one file, but got none"):
        read_predictions(path, ABC)
    path.write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    with pytest.raises(UserError, match=r"val\.csv, but cannot read it"):
        read_predictions(path, ABC)


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        ([0, 1], (3, 3), "3 labels"),
        ([0, 1, 2], (3, 4), "3 x 3 probabilities"),
        ([0, 1, 3], (3, 3), "a label in 0 to 2 for file 'z', but got 3"),
        ([-1, 1, 2], (3, 3), "a label in 0 to 2 for file 'x', but got -1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(labels, shape, message):
    with pytest.raises(UserError, match=message):
        Predictions(("x", "y", "z"), np.array(labels), np.full(shape, 1 / shape[1]), ABC)
