from dataclasses import replace

import numpy as np
import pytest

from leukemia.data.files.inputs import read_column
from leukemia.data.files.manifest import BadFile
from leukemia.data.split.groups import join_groups
from leukemia.data.split.parts import file_split, write_split
from leukemia.errors import UserError
from tests.data.split.test_parts import CLASSES, GOOD, GROUPS, MANIFEST

FILES = [f'"{file}"' for file in MANIFEST.files]


def written(path, cells, header="file,group"):
    lines = [f"{file},{cell}" for file, cell in zip(FILES, cells, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def refusal(call, *args, **settings) -> str:
    with pytest.raises(UserError) as caught:
        call(*args, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# data.groups ------------------------------------------------------------------------------


def test_groups_of_a_table_and_copies_are_joined_through_each_other(tmp_path):
    # Benign/3 and Benign/4 are copies: their groups y and z become one.
    path = written(tmp_path / "g.csv", ["x", "x", "y", "z", "u", "z", "v", "w"])
    assert join_groups(MANIFEST, path).tolist() == [0, 0, 1, 1, 2, 1, 3, 4]


def test_the_order_of_rows_and_other_columns_do_not_matter(tmp_path):
    path = tmp_path / "g.csv"
    rows = [f"{i},{'ab'[i % 2]},{file},note" for i, file in enumerate(FILES)]
    path.write_text("\ufeffn,group,file,more\n" + "\n".join(rows[::-1]), encoding="utf-8")
    # Copies at rows 2 (a) and 3 (b) join all.
    assert join_groups(MANIFEST, path).tolist() == [0] * 8
    apart = replace(MANIFEST, sha256=tuple("abcdefgh"))
    assert join_groups(apart, path).tolist() == [0, 1] * 4


def test_a_name_is_a_name_even_if_it_looks_like_a_number(tmp_path):
    path = written(tmp_path / "g.csv", ["1", "01", "1.0", "1.0", "5", "6", "7", "1"])
    assert join_groups(MANIFEST, path).tolist() == [0, 1, 2, 2, 3, 4, 5, 0]


def test_a_file_that_the_groups_lack_is_named(tmp_path):
    message = refusal(join_groups, MANIFEST, written_without(tmp_path / "g.csv", 5))
    assert "data.groups" in message
    assert "does not list 1 of 8 images: 'Early/2.png'" in message


def written_without(path, row):
    lines = ["file,group", *[f"{file},a" for i, file in enumerate(FILES) if i != row]]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_file_that_the_dataset_lacks_is_named(tmp_path):
    path = written(tmp_path / "g.csv", "abcdefgh")
    path.write_text(path.read_text(encoding="utf-8") + "Pro/9.png,a\n", encoding="utf-8")
    message = refusal(join_groups, MANIFEST, path)
    assert "lists 1 files that are not in the dataset: 'Pro/9.png'" in message
    assert "'Benign/1.png'" in message
    # Unless it was left out as damaged.
    join_groups(replace(MANIFEST, skipped=(BadFile("Pro/9.png", "empty"),)), path)


def test_a_file_listed_twice_is_named(tmp_path):
    path = written(tmp_path / "g.csv", "abcdefgh")
    path.write_text(path.read_text(encoding="utf-8") + "Early/1.png,a\n", encoding="utf-8")
    assert "more than once: 'Early/1.png'" in refusal(join_groups, MANIFEST, path)


def test_a_file_without_a_group_is_named(tmp_path):
    path = written(tmp_path / "g.csv", ["a", "", *"cdefgh"])
    assert "without a value in 'group': 'Benign/2, ü.png'" in refusal(join_groups, MANIFEST, path)


@pytest.mark.parametrize(
    ("header", "told"),
    [("file,patient", "lacks 'group'"), ("name,group", "lacks 'file'"), ("file;group", "'group'")],
)
def test_a_missing_column_is_named(tmp_path, header, told):
    message = refusal(join_groups, MANIFEST, written(tmp_path / "g.csv", "abcdefgh", header))
    assert told in message
    assert "columns 'file' and 'group'" in message


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b""])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "g.csv"
    path.write_bytes(content)
    assert str(path) in refusal(join_groups, MANIFEST, path)


def test_an_absent_table_is_named(tmp_path):
    message = refusal(read_column, tmp_path / "no.csv", "part", MANIFEST, setting="split.file")
    assert "split.file" in message
    assert "no.csv' cannot be read" in message


# split=file -------------------------------------------------------------------------------


def test_parts_come_from_a_table(tmp_path):
    cells = ["train", "val", "test", "test", "train", "train", "val", "test"]
    path = written(tmp_path / "s.csv", cells, "file,part")
    split = file_split(MANIFEST, GROUPS, path)
    assert {part: rows.tolist() for part, rows in split.parts.items()} == {
        "train": [0, 4, 5],
        "val": [1, 6],
        "test": [2, 3, 7],
    }
    assert split.notes == ()
    assert split.groups is GROUPS


def test_the_split_of_a_run_is_such_a_table(tmp_path):
    write_split(tmp_path / "split.csv", GOOD, MANIFEST, CLASSES)
    split = file_split(MANIFEST, GROUPS, tmp_path / "split.csv")
    for part, rows in GOOD.parts.items():
        np.testing.assert_array_equal(split.parts[part], rows)
    assert split.notes == ("2 of 8 images are not in split.file, and unused.",)


def test_an_unknown_part_is_named_with_its_file(tmp_path):
    path = written(tmp_path / "s.csv", ["train"] * 7 + ["dev"], "file,part")
    message = refusal(file_split, MANIFEST, GROUPS, path)
    assert "'Early/4.png' in 'dev'" in message
    assert "train, val, test" in message


def test_a_part_for_an_unknown_file_is_refused(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("file,part\nBenign/0.png,train\n", encoding="utf-8")
    assert "not in the dataset: 'Benign/0.png'" in refusal(file_split, MANIFEST, GROUPS, path)
