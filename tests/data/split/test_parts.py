import csv

import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.data.files.manifest import Manifest
from leukemia.data.split.parts import Split, read_split, write_split
from leukemia.errors import UserError

CLASSES = Classes(("Benign", "Early"))

MANIFEST = Manifest(
    files=(
        "Benign/1.png",
        "Benign/2, ü.png",
        "Benign/3.png",
        "Benign/4.png",
        "Early/1.png",
        "Early/2.png",
        "Early/3.png",
        "Early/4.png",
    ),
    labels=np.array([0, 0, 0, 0, 1, 1, 1, 1]),
    sizes=np.ones((8, 2), np.int64),
    sha256=("a", "b", "c", "c", "d", "e", "f", "g"),
)
GROUPS = np.array([0, 1, 2, 2, 3, 4, 5, 6])


def split_of(train, val, test, groups=GROUPS) -> Split:
    parts = {"train": np.array(train), "val": np.array(val), "test": np.array(test)}
    return Split({part: rows.astype(np.int64) for part, rows in parts.items()}, groups)


GOOD = split_of([0, 4], [1, 5], [2, 6])


def refusal(call, *args) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_split_csv_has_a_row_for_each_file_used_in_manifest_order(tmp_path):
    write_split(tmp_path / "split.csv", GOOD, MANIFEST, CLASSES)
    assert (tmp_path / "split.csv").read_text(encoding="utf-8") == (
        "file,sha256,label,group,part\n"
        "Benign/1.png,a,Benign,0,train\n"
        '"Benign/2, ü.png",b,Benign,1,val\n'
        "Benign/3.png,c,Benign,2,test\n"
        "Early/1.png,d,Early,3,train\n"
        "Early/2.png,e,Early,4,val\n"
        "Early/3.png,f,Early,5,test\n"
    )


def test_a_split_is_read_back_whatever_the_order_of_rows(tmp_path):
    path = tmp_path / "split.csv"
    write_split(path, GOOD, MANIFEST, CLASSES)
    found = read_split(path, MANIFEST, CLASSES)
    assert {part: rows.tolist() for part, rows in found.parts.items()} == {
        "train": [0, 4],
        "val": [1, 5],
        "test": [2, 6],
    }
    # Row 3 is a copy of row 2; row 7 is used by no part and belongs to no other row.
    assert found.groups.tolist() == [0, 1, 2, 2, 3, 4, 5, 6]
    turned = MANIFEST.take(np.arange(8)[::-1])
    found = read_split(path, turned, CLASSES)
    assert [turned.files[row] for row in found.parts["test"]] == ["Early/3.png", "Benign/3.png"]
    assert found.parts["test"].tolist() == [1, 5]


def edit(path, file, column, value):
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row["file"] == file:
            row[column] = value
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("file", "Early/9.png", "'Early/9.png' is not there"),
        ("file", "Early/2.png", "'Early/2.png' has changed"),
        ("sha256", "z", "'Early/1.png' has changed"),
        ("label", "Benign", "'Early/1.png' has another label"),
        ("part", "dev", "part 'dev'"),
        ("group", "x", "group 'x'"),
    ],
)
def test_a_split_that_does_not_fit_is_refused_by_file(tmp_path, column, value, told):
    path = tmp_path / "split.csv"
    write_split(path, GOOD, MANIFEST, CLASSES)
    edit(path, "Early/1.png", column, value)
    message = refusal(read_split, path, MANIFEST, CLASSES)
    assert told in message
    assert str(path) in message


def test_every_file_that_is_gone_is_named(tmp_path):
    path = tmp_path / "split.csv"
    write_split(path, GOOD, MANIFEST, CLASSES)
    message = refusal(read_split, path, MANIFEST.take([0, 1, 2, 6]), CLASSES)
    assert "'Early/1.png' is not there" in message
    assert "'Early/2.png' is not there" in message


def test_a_file_listed_twice_is_refused(tmp_path):
    path = tmp_path / "split.csv"
    write_split(path, GOOD, MANIFEST, CLASSES)
    lines = path.read_text(encoding="utf-8")
    path.write_text(lines + "Early/1.png,d,Early,3,test\n", encoding="utf-8")
    assert "'Early/1.png' is listed twice" in refusal(read_split, path, MANIFEST, CLASSES)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b"file,sha256\nx"])
def test_what_is_no_split_is_refused(tmp_path, content):
    path = tmp_path / "split.csv"
    path.write_bytes(content)
    assert str(path) in refusal(read_split, path, MANIFEST, CLASSES)


def test_an_absent_split_is_refused(tmp_path):
    assert "nowhere.csv" in refusal(read_split, tmp_path / "nowhere.csv", MANIFEST, CLASSES)
