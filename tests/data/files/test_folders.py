"""Listing a dataset: one folder a class, and all that is wrong with it at once."""

import os
from pathlib import Path

import pytest

from leukemia.classes import Classes
from leukemia.data.files.folders import ImageFile, list_images
from leukemia.errors import UserError
from tests.data.samples import folder

CLASSES = Classes(("Benign", "Early", "Pre", "Pro"))


WHOLE = ("Benign/1.png", "Early/1.png", "Pre/1.png", "Pro/1.png")


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        list_images(root, CLASSES)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_files_come_sorted_by_class_and_path(tmp_path):
    classes = Classes(("b", "a"), benign="b")
    folder(tmp_path, "a/2.png", "a/10.png", "b/z.jpg", "b/Ünïcödé 細胞.png")
    assert list_images(tmp_path, classes) == [
        ImageFile("b/z.jpg", 0),
        ImageFile("b/Ünïcödé 細胞.png", 0),
        ImageFile("a/10.png", 1),
        ImageFile("a/2.png", 1),
    ]


def test_hidden_entries_and_notes_beside_the_classes_are_passed_over(tmp_path):
    folder(tmp_path, *WHOLE, "README.md", "a.TXT", "b.csv", "c.json", ".DS_Store", ".git/config")
    folder(tmp_path, "Early/.hidden.png")
    assert [image.path for image in list_images(tmp_path, CLASSES)] == list(WHOLE)


def test_every_visible_file_of_a_class_counts(tmp_path):
    folder(tmp_path, *WHOLE, "Early/notes.txt")
    assert ImageFile("Early/notes.txt", 1) in list_images(tmp_path, CLASSES)


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    folder(tmp_path, "benign/1.png", "Pro/1.png", "Pro/masks/1.png", "Earyl/1.png", "zoo/1.png")
    folder(tmp_path, "loose.png")
    (tmp_path / "Pre").mkdir()
    message = refusal(tmp_path)
    for part in (
        str(tmp_path),
        "folder 'benign' should be called 'Benign'",
        "folder 'Earyl' should be called 'Early'",
        "class folder 'Pre' is empty",
        "folder 'zoo' is no class",
        "'Pro/masks' is a folder inside a class folder",
        "file 'loose.png' lies beside the class folders",
        "data.classes.names",
    ):
        assert part in message


def test_a_missing_class_is_named(tmp_path):
    assert "class folder 'Pre' is missing" in refusal(
        folder(tmp_path, "Benign/1.png", "Early/1.png", "Pro/1.png")
    )


def test_a_case_variant_goes_before_a_similar_name(tmp_path):
    # 'pro' resembles the missing 'Pre', but is 'Pro'.
    message = refusal(folder(tmp_path, "Benign/1.png", "Early/1.png", "pro/1.png"))
    assert "folder 'pro' should be called 'Pro'" in message
    assert "class folder 'Pre' is missing" in message


def test_a_class_that_is_a_file_is_missing(tmp_path):
    message = refusal(folder(tmp_path, "Benign/1.png", "Early/1.png", "Pro/1.png", "Pre"))
    assert "class folder 'Pre' is missing" in message
    assert "file 'Pre' lies beside" in message


def test_thousands_of_loose_files_are_counted_not_listed(tmp_path):
    message = refusal(folder(tmp_path, *[f"{i}.png" for i in range(1000)]))
    assert "class folder 'Benign' is missing" in message
    assert "and 984 more" in message  # 4 classes and 1000 files, 20 listed


def test_a_root_that_is_no_folder(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")
    assert "is no folder" in refusal(folder(tmp_path, "file") / "file")


def test_the_kaggle_download_is_told_by_its_folder(tmp_path):
    folder(tmp_path, *[f"Original/{f}" for f in WHOLE], *[f"Segmented/{f}" for f in WHOLE])
    assert f"data.root={tmp_path / 'Original'}" in refusal(tmp_path)


def test_a_name_that_is_no_unicode_is_refused(tmp_path):
    folder(tmp_path, *WHOLE)
    try:
        Path(os.fsdecode(bytes(tmp_path) + b"/Pre/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only unicode names")
    assert r"'\udcff.png'" in refusal(tmp_path)


def test_class_folders_and_files_that_are_links_count_like_others(tmp_path):
    away = folder(tmp_path / "away", "1.jpg", "2.jpg")
    root = folder(tmp_path / "root", "Benign/1.jpg", "Early/1.jpg")
    (root / "Pre").symlink_to(away)
    (root / "Pro").mkdir()
    (root / "Pro" / "1.jpg").symlink_to(away / "1.jpg")
    found = [image.path for image in list_images(root, Classes())]
    assert found == ["Benign/1.jpg", "Early/1.jpg", "Pre/1.jpg", "Pre/2.jpg", "Pro/1.jpg"]


def test_a_link_that_leads_in_a_circle_is_named(tmp_path):
    root = folder(tmp_path, "Benign/1.jpg", "Early/1.jpg", "Pre/1.jpg", "Pro/1.jpg")
    (root / "Pro" / "round").symlink_to(root)
    with pytest.raises(UserError, match="'Pro/round' is a folder inside a class folder"):
        list_images(root, Classes())
