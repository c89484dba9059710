"""Other people's folders: classes from folders or names, patients, and what to set for them."""

import re

import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.data.files.folders import ImageFile, Layout, find_names, layout_here, list_images
from leukemia.data.files.manifest import build_manifest
from leukemia.data.split.groups import related_groups
from leukemia.data.split.parts import class_folder
from leukemia.errors import UserError
from tests.data.samples import folder
from tests.foreign import paint, paint_folders

ARIA = Classes(("Benign", "Early", "Pre", "Pro"))
BLOOD = Classes(("hem", "all"), benign="hem")
CELLS = Layout(r"(?:.*/)?UID_(?P<patient>H?\d+)_(?P<label>all|hem)\.bmp", extensions=(".bmp",))
DIGITS = Layout(r"Im\d+_(?P<label>[01])\.jpg", (("0", "healthy"), ("1", "ALL")))


def refusal(call, *args, **more) -> str:
    with pytest.raises(UserError) as caught:
        call(*args, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_foreign_folder_is_told_what_to_set_and_not_to_be_renamed(tmp_path):
    root = folder(tmp_path, "healthy/1.png", "ALL/1.png")
    message = refusal(list_images, root, ARIA)
    assert "should be called" not in message
    assert "Early'" in message and "healthy" in message  # noqa: PT018
    assert "use data=folder" in message
    assert "'data.classes.names=[ALL,healthy]'" in message
    assert "data.classes.benign" in message


def test_names_that_a_shell_would_split_are_taken_from_the_folders(tmp_path):
    root = folder(tmp_path, "a b/1.png", "c,d/1.png")
    assert "data.classes.names=null" in refusal(list_images, root, ARIA)


def test_a_name_that_is_merely_alike_is_no_misspelling(tmp_path):
    root = folder(tmp_path, "Benign/1.png", "healthy/1.png", "Prr/1.png")
    message = refusal(list_images, root, ARIA)
    assert "'healthy' should" not in message
    assert "class folder 'Early' is missing" in message
    assert "folder 'healthy' is no class" in message


def test_of_a_finished_run_no_setting_is_offered(tmp_path):
    root = folder(tmp_path, "Benign/1.png", "Early/1.png", "Pre/1.png", "pro/1.png")
    message = refusal(list_images, root, ARIA, fixed=True)
    assert "data.classes" not in message
    assert message.endswith("Rename or move what is named here.")


def test_names_come_from_the_folders_sorted(tmp_path):
    folder(tmp_path, "b/1.png", "A/1.png", "a/1.png", ".git/1", "README.md")
    assert find_names(tmp_path) == ("A", "a", "b")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["Train/a/1.png", "Train/b/1.png", "Test/a/1.png"], "one level down, in Test; Train"),
        (["a/1.png"], "two or more classes, but it has a"),
        (["1.png", "2.png"], "set data.pattern where the names of files tell"),
    ],
)
def test_a_folder_of_no_classes_is_told_why(tmp_path, files, told):
    assert told in refusal(find_names, folder(tmp_path, *files))


def test_a_pattern_tells_class_and_patient_below_any_folders(tmp_path):
    root = folder(tmp_path, "f0/all/UID_7_all.bmp", "f1/hem/UID_H7_hem.bmp", "UID_12_all.bmp")
    folder(root, "labels.csv", "f0/Thumbs.db", ".hidden.bmp")
    assert list_images(root, BLOOD, CELLS) == [
        ImageFile("f1/hem/UID_H7_hem.bmp", 0, "H7"),
        ImageFile("UID_12_all.bmp", 1, "12"),
        ImageFile("f0/all/UID_7_all.bmp", 1, "7"),
    ]
    assert find_names(root, CELLS) == ("all", "hem")


def test_what_a_pattern_tells_may_be_another_name(tmp_path):
    root = folder(tmp_path, "Im001_1.jpg", "Im002_0.jpg")
    assert find_names(root, DIGITS) == ("ALL", "healthy")
    found = list_images(root, Classes(("healthy", "ALL"), "healthy"), DIGITS)
    assert [image.path for image in found] == ["Im002_0.jpg", "Im001_1.jpg"]


def test_all_that_does_not_match_is_named_at_once(tmp_path):
    root = folder(tmp_path, "UID_1_all.bmp", "UID_x_all.bmp", "UID_2_all.png", "odd.bmp")
    message = refusal(list_images, root, BLOOD, CELLS)
    for part in (
        "class 'hem' has no file",
        "2 files do not match the pattern, such as 'UID_x_all.bmp'; 'odd.bmp'",
        "1 files are images, but none of data.extensions ['.bmp'], such as 'UID_2_all.png'",
        "set data.pattern",
    ):
        assert part in message


def test_a_class_that_is_none_is_counted(tmp_path):
    root = folder(tmp_path, "UID_1_all.bmp", "UID_1_hem.bmp", "UID_2_hem.bmp")
    message = refusal(list_images, root, Classes(("all", "other"), None), CELLS)
    assert "2 files are of 'hem', which is no class" in message


def test_a_pattern_of_a_run_may_miss_classes_elsewhere(tmp_path):
    root = folder(tmp_path, "UID_1_all.bmp")
    assert len(list_images(root, BLOOD, CELLS, fixed=True)) == 1
    assert "class 'hem' has no file" in refusal(list_images, root, BLOOD, CELLS)


def test_a_link_that_leads_in_a_circle_is_walked_once(tmp_path):
    root = folder(tmp_path, "a/UID_1_all.bmp", "a/UID_1_hem.bmp")
    (root / "a" / "round").symlink_to(root)
    assert len(list_images(root, BLOOD, CELLS)) == 2


def test_suffixes_keep_other_files_out_of_class_folders(tmp_path):
    layout = Layout(extensions=(".jpg",))
    root = folder(tmp_path, "hem/1.JPG", "hem/Thumbs.db", "all/1.jpg")
    assert [i.path for i in list_images(root, BLOOD, layout)] == ["hem/1.JPG", "all/1.jpg"]
    folder(root, "all/2.png")
    assert "'all/2.png' is none of data.extensions" in refusal(list_images, root, BLOOD, layout)
    (root / "all" / "1.jpg").unlink()
    (root / "all" / "2.png").rename(root / "all" / "x.db")
    assert "class folder 'all' is empty" in refusal(list_images, root, BLOOD, layout)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"pattern": "(?P<label>"}, "to be a regular expression"),
        ({"pattern": r"\d+\.jpg"}, "to have a group (?P<label>...)"),
        ({"extensions": ("jpg",)}, "to be a suffix such as .jpg, but got 'jpg'"),
    ],
)
def test_a_layout_that_tells_nothing_is_refused(values, told):
    assert told in refusal(Layout, **values)


def test_another_folder_is_known_by_the_run_s_pattern_or_by_class_folders(tmp_path):
    named = folder(tmp_path / "named", "x/UID_1_all.bmp")
    sorted_ones = folder(tmp_path / "sorted", "hem/1.png", "all/1.png")
    foreign = folder(tmp_path / "foreign", "normal/1.png", "sick/1.png")
    assert layout_here(named, BLOOD, CELLS) == CELLS
    assert layout_here(sorted_ones, BLOOD, CELLS) == Layout()
    assert layout_here(foreign, BLOOD, CELLS) is None
    assert layout_here(foreign, BLOOD, Layout()) is None


def test_the_images_of_a_patient_are_one_group_in_every_manifest(tmp_path):
    for kind, name in enumerate(("hem", "all")):
        for person in (1, 2):
            for cell in (1, 2):
                uid = f"H{person}" if name == "hem" else person
                paint(tmp_path / f"{cell}" / f"UID_{uid}_{name}.bmp", kind, 10 * person + cell)
    manifest = build_manifest(tmp_path, BLOOD, layout=CELLS, cache_dir=tmp_path / ".cache")
    assert sorted(set(manifest.related)) == ["1", "2", "H1", "H2"]
    groups = related_groups(manifest)
    assert len(set(groups.tolist())) == 4
    people = [re.findall(r"UID_(\w+)_", file)[0] for file in manifest.files]
    for group in set(groups.tolist()):
        assert len({people[row] for row in np.flatnonzero(groups == group)}) == 1
    part = manifest.take([0, 3])
    assert part.related == (manifest.related[0], manifest.related[3])
    assert class_folder(manifest, 1) == "'all'"


def test_folders_tell_no_patient(tmp_path):
    paint_folders(tmp_path, ("hem", "all"), 2)
    manifest = build_manifest(tmp_path, BLOOD)
    assert manifest.related == ()
    assert related_groups(manifest).tolist() == [0, 1, 2, 3]
