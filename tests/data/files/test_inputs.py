import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukemia.data.files.images import BadImage
from leukemia.data.files.inputs import AGAIN, find_images, prepare
from leukemia.data.image.mask import MaskSpec
from leukemia.data.image.preprocess import Preprocess
from leukemia.errors import UserError
from tests.data.samples import folder


def test_a_folder_is_searched_with_all_its_folders(tmp_path):
    folder(tmp_path, "b.JPG", "a/2.png", "a/b/1.tiff", "Größe 細胞.webp")
    found = find_images(str(tmp_path))
    assert found.names == ("Größe 細胞.webp", "b.JPG", "a/2.png", "a/b/1.tiff")
    assert found.paths == tuple(tmp_path / name for name in found.names)
    assert not found.single


def test_other_files_are_passed_over_and_told_hidden_ones_are_not(tmp_path):
    folder(tmp_path, "1.png", "notes.csv", "a/slide.svs", "README", ".hidden.png", ".git/1.png")
    found = find_images(str(tmp_path))
    assert found.names == ("1.png",)
    others = ("README", "notes.csv", "a/slide.svs")
    assert found.passed_over == tuple(str(tmp_path / name) for name in others)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no image \(\.jpg"):
        find_images(str(folder(tmp_path, "notes.csv")))


def test_a_named_file_counts_whatever_its_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(folder(tmp_path, "scan.dat"))
    found = find_images("scan.dat")
    assert (found.names, found.paths, found.single) == (("scan.dat",), (Path("scan.dat"),), True)


def test_a_pattern_matches_files_at_the_depth_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(folder(tmp_path, "b.png", "a.dat", "c/d.png", "c/.e.png"))
    assert find_images("*").names == ("a.dat", "b.png")
    assert find_images("*/*.png").names == ("c/d.png",)
    assert find_images("**/*.png").names == ("b.png", "c/d.png")
    assert not find_images("b.*").single
    with pytest.raises(UserError, match=r"No file matches '\*\.jpg'"):
        find_images("*.jpg")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(folder(tmp_path, "cell[1].png", "cell1.png"))
    assert find_images("cell[1].png").names == ("cell[1].png",)


def test_a_list_holds_files_folders_and_patterns_and_its_lost_files(tmp_path, monkeypatch):
    monkeypatch.chdir(folder(tmp_path, "1.png", "a/2.png", "b/3.png"))
    found = find_images(["1.png", "a", "b/*", "lost.png"])
    assert found.names == ("1.png", "a/2.png", "b/3.png", "lost.png")
    assert not found.single
    with pytest.raises(UserError, match="nothing"):
        find_images([])


def test_what_is_not_there_is_named():
    with pytest.raises(UserError, match=r"no file or folder 'nowhere\.jpg'"):
        find_images("nowhere.jpg")


def test_linked_folders_are_searched_and_circles_are_named(tmp_path):
    folder(tmp_path / "away", "2.png", "deep/3.png")
    here = folder(tmp_path / "here", "a/1.png")
    (here / "b").symlink_to(tmp_path / "away")
    (tmp_path / "away" / "round").symlink_to(tmp_path / "away")
    (here / "a" / "up").symlink_to(here)
    (here / "c").symlink_to(here / "a")
    found = find_images(str(here))
    assert found.names == ("a/1.png", "b/2.png", "b/deep/3.png")
    links = ("a/up", "b/round", "c")
    assert found.passed_over == tuple(f"{here / link}{AGAIN}" for link in links)


def test_a_pattern_for_any_depth_ends_where_links_lead_in_circles(tmp_path, monkeypatch):
    monkeypatch.chdir(folder(tmp_path, "a/1.png", "a/2.gif", "b/c/3.png", "4.png"))
    for name in ("one", "two", "three"):
        (tmp_path / "a" / name).symlink_to(tmp_path)
    found = find_images("**/*.png")
    assert found.names == ("4.png", "a/1.png", "b/c/3.png")
    assert found.passed_over == tuple(f"a/{name}{AGAIN}" for name in ("one", "three", "two"))
    assert find_images("b/**").names == ("b/c/3.png",)
    assert find_images("?/**/*.png").names == ("a/1.png", "a/one/4.png", "b/c/3.png")


def test_a_name_that_is_no_unicode_can_be_written(tmp_path):
    try:
        Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only unicode names")
    found = find_images(str(tmp_path))
    assert found.names == ("\\xff.png",)
    assert found.paths[0].is_file()


STAINED = np.full((40, 60, 3), (150, 140, 155), np.uint8)


@pytest.mark.parametrize("order", ["published", "kmeans", "none"])
def test_images_come_in_order_as_they_are_preprocessed_in_training(tmp_path, order):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8) for i in range(5)]
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    preprocess = Preprocess(MaskSpec(order, background=0.35), size=32)
    mixed = [paths[0], arrays[1], str(paths[2]), paths[3], arrays[4]]
    for found, array in zip(prepare(mixed, preprocess), arrays, strict=True):
        np.testing.assert_array_equal(found, preprocess(array))


@pytest.mark.parametrize("order", ["published", "lab", "kmeans", "none"])
def test_an_image_without_a_stained_pixel_cannot_be_judged(order):
    preprocess = Preprocess(MaskSpec(order), size=32)
    white, black = np.full((9, 9, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)
    stained, *blank = prepare([STAINED, white, black], preprocess)
    assert stained.shape == (32, 32, 3)
    assert [type(found) for found in blank] == [BadImage, BadImage]
    assert "shows no cell" in str(blank[0])


def test_a_bad_file_takes_its_place_among_the_good(tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    images = [STAINED, tmp_path / "bad.jpg", tmp_path / "lost.jpg", STAINED]
    found = list(prepare(images, Preprocess(size=16)))
    assert [isinstance(one, BadImage) for one in found] == [False, True, True, False]
