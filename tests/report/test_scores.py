import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from leukemia.report.scores import Scores, Strange, is_scores
from tests.report.samples import ABC

THREE = Scores(
    files=("a.png", "Größe, 細胞.png", "c.png"),
    probabilities=np.array([[0.9, 0.075, 0.025], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0]]),
    certain=np.array([True, False, True]),
    classes=ABC,  # A is benign
)


def test_what_follows_from_the_probabilities():
    np.testing.assert_allclose(THREE.p_cancer, [0.1, 0.75, 0])
    assert THREE.predicted == ("A", "C", "A")
    assert THREE.cancers == ("B", "C")
    np.testing.assert_allclose(THREE.given_cancer, [[0.75, 0.25], [1 / 3, 2 / 3], [np.nan, np.nan]])


def test_the_csv_holds_every_value_in_full_precision():
    table = list(csv.DictReader(THREE.to_csv().splitlines()))
    assert list(table[0]) == [
        *("file", "p_A", "p_B", "p_C", "p_cancer", "prediction", "certain"),
        *("p_B_if_cancer", "p_C_if_cancer", "decision", "why"),
    ]
    assert [row["file"] for row in table] == list(THREE.files)
    assert [row["certain"] for row in table] == ["yes", "no", "yes"]
    assert [float(row["p_cancer"]) for row in table] == THREE.p_cancer.tolist()
    assert float(table[1]["p_B_if_cancer"]) == THREE.given_cancer[1, 0]
    assert table[2]["p_B_if_cancer"] == ""


def test_json_lines_hold_the_same_as_plain_values():
    lines = [json.loads(line) for line in THREE.to_jsonl().splitlines()]
    assert lines == list(THREE.rows())
    assert lines[1]["certain"] is False
    assert lines[2]["p_C_if_cancer"] is None
    assert "細胞" in THREE.to_jsonl()


def test_the_print_out_reads_as_the_paper_s():
    assert THREE.printout(0).splitlines() == [
        "Model output: A 0.9000  B 0.0750  C 0.0250",
        "Probability of cancer: 0.1000",
        "Predicted A, certain",
        "Probability of B, if cancer: 0.7500",
        "Probability of C, if cancer: 0.2500",
    ]
    assert THREE.printout(1).splitlines()[2] == "Predicted C, UNCERTAIN: a human should look"
    assert "B, if cancer: undefined" in THREE.printout(2)


def test_one_word_says_what_to_do_and_why():
    doubts = ((), ("low confidence",), ())
    strange = Strange(np.array([0.1, 0.2, 1.5]), np.array([0, 1, 1], bool))
    certain = np.array([True, False, False])
    told = replace(THREE, certain=certain, strange=strange, doubts=doubts)
    assert [(row["decision"], row["why"]) for row in told.rows()] == [
        ("accept", ""),
        ("refer", "out of distribution; low confidence"),
        ("refer", "out of distribution"),
    ]
    assert told.printout(2).splitlines()[2].endswith("a human should look (out of distribution)")


def test_what_is_out_of_distribution_is_told_in_every_form():
    told = replace(THREE, strange=Strange(np.array([0.1, 0.2, 1.5]), np.array([0, 0, 1], bool)))
    table = list(csv.DictReader(told.to_csv().splitlines()))
    assert [(row["ood_score"], row["ood"]) for row in table] == [
        ("0.1", "no"),
        ("0.2", "no"),
        ("1.5", "yes"),
    ]
    assert [json.loads(line)["ood"] for line in told.to_jsonl().splitlines()] == [0, 0, 1]
    assert "OUT OF DISTRIBUTION" in told.printout(2)
    assert told.printout(1) == THREE.printout(1)


@pytest.mark.parametrize(
    ("content", "own"),
    [
        (THREE.to_csv(), True),
        (THREE.to_jsonl(), True),
        ("file,label,p_A,p_B,p_C,p_cancer,prediction\n", False),
        ('{"file": 1}\n', False),
        ("{broken\n", False),
        ("", False),
    ],
)
def test_a_table_of_its_own_is_known_again(content, own, tmp_path):
    path = tmp_path / "table"
    path.write_text(content, encoding="utf-8")
    assert is_scores(path) is own


def test_what_is_no_text_is_no_table(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff\xfe")
    assert not is_scores(tmp_path / "a.png")
    assert not is_scores(tmp_path)
