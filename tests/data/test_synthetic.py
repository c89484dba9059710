"""Painted smears: the same bytes by seed, and nothing that colour alone could learn well."""

import json
import multiprocessing
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from leukemia.classes import Classes
from leukemia.data.files.folders import list_images
from leukemia.data.files.images import read_image
from leukemia.data.image.mask import MaskSpec, stain_mask
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError


def content(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.jpg")}


def test_the_same_seed_paints_the_same_bytes(tmp_path):
    a = content(paint_smears(tmp_path / "a", per_class=4, seed=1))
    assert a == content(paint_smears(tmp_path / "b", per_class=4, seed=1))
    other = content(paint_smears(tmp_path / "c", per_class=4, seed=2))
    assert list(a) == list(other)
    assert not set(a.values()) & set(other.values())
    assert len(set(a.values())) == 16


def test_the_folder_is_a_dataset_of_named_files(tmp_path):
    images = list_images(paint_smears(tmp_path / "a", per_class=3), Classes())
    assert len(images) == 12
    assert images[0].path == "Benign/WBC-Benign-001.jpg"
    assert read_image(tmp_path / "a" / images[0].path).shape == (224, 224, 3)


def test_a_finished_painting_is_reused_and_other_settings_repaint(tmp_path):
    folder = paint_smears(tmp_path / "a", per_class=2)
    file = folder / "Pro" / "WBC-Pro-001.jpg"
    before = file.stat().st_mtime_ns
    paint_smears(folder, per_class=2)
    assert file.stat().st_mtime_ns == before
    paint_smears(folder, per_class=3)
    assert (folder / "Pro" / "WBC-Pro-003.jpg").is_file()


@pytest.mark.parametrize("name", ["", "mine.txt"], ids=["folder", "file"])
def test_what_was_there_before_is_left_alone(name, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="is or holds something else"):
        paint_smears(tmp_path / name, per_class=1)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_a_full_disk_is_told_and_the_painting_done_again(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # bytes; an image is larger
    try:
        with pytest.raises(UserError, match="Cannot paint"):
            paint_smears(tmp_path / "a", per_class=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert len(content(paint_smears(tmp_path / "a", per_class=1))) == 4


def paint(folder: Path, barrier, inodes) -> None:
    barrier.wait()
    inodes.put(paint_smears(folder, per_class=2).stat().st_ino)


def test_painters_at_once_leave_the_first_painting_in_place(tmp_path):
    # Not forked: a child of a process with threads may wait for ever for a lock that one of them
    # held.
    context = multiprocessing.get_context("spawn")
    barrier, inodes = context.Barrier(3), context.Queue()
    given = (tmp_path / "a", barrier, inodes)
    painters = [context.Process(target=paint, args=given) for _ in range(3)]
    for painter in painters:
        painter.start()
    seen = {inodes.get(timeout=60) for _ in painters}
    for painter in painters:
        painter.join()
    assert seen == {(tmp_path / "a").stat().st_ino}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_another_painter_finishes_meanwhile_is_not_taken_away(tmp_path, monkeypatch):
    folder = paint_smears(tmp_path / "a", per_class=1)  # of other settings: both paint anew
    other = []

    def after_another(method):
        def hooked(path, *rest):
            # Ours is whole, and about to be put in place.
            if (
                path.name.startswith(".building.")
                and (path / ".painted.json").is_file()
                and not other
            ):
                other.append(None)
                other[0] = paint_smears(folder, per_class=2).stat().st_ino
            return method(path, *rest)

        return hooked

    monkeypatch.setattr(Path, "rename", after_another(Path.rename))
    paint_smears(folder, per_class=2)
    assert other == [folder.stat().st_ino]
    assert len(content(folder)) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("seed", [-1, 0.5, "first"])
def test_a_seed_that_is_no_whole_number_from_0_on_is_named(tmp_path, seed):
    with pytest.raises(UserError, match=rf"paint_seed .*{seed}"):
        paint_smears(tmp_path / "a", seed=seed)


def test_colour_alone_says_little_about_the_class(tmp_path):
    folder = paint_smears(tmp_path / "a", per_class=24)
    images = list_images(folder, Classes())
    pixels = [read_image(folder / image.path) for image in images]
    labels = [image.label for image in images]
    colour = np.array([[*x.mean((0, 1)), *x.std((0, 1))] for x in pixels])
    score = cross_val_score(make_pipeline(StandardScaler(), SVC()), colour, labels, cv=4).mean()
    assert score < 0.6


def test_the_published_mask_finds_the_painted_cells(tmp_path):
    folder = paint_smears(tmp_path / "a", per_class=4)
    for image in list_images(folder, Classes()):
        stained = stain_mask(read_image(folder / image.path), MaskSpec("published"))
        assert 0.02 < stained.mean() < 0.6


def test_damaged_and_missing_smears_are_told_and_painted_again(tmp_path, capsys):
    folder = paint_smears(tmp_path / "a", per_class=2)
    before = content(folder)
    path = folder / "Pre" / "WBC-Pre-002.jpg"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[5000:5010] = bytes(10)
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (folder / "Pro" / "WBC-Pro-001.jpg").unlink()
    assert content(paint_smears(folder, per_class=2)) == before
    said = capsys.readouterr().err
    assert "are damaged (2 of 8 files): they are painted again" in said
    paint_smears(folder, per_class=2)
    assert capsys.readouterr().err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_files_that_were_added_to_a_painting_are_named_and_kept(tmp_path):
    folder = paint_smears(tmp_path / "a", per_class=1)
    (folder / "Early" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"were not painted, such as 'Early/mine\.jpg'"):
        paint_smears(folder, per_class=1)
    assert (folder / "Early" / "mine.jpg").read_bytes() == b"mine"


def test_a_painting_of_an_earlier_version_is_painted_again(tmp_path):
    folder = paint_smears(tmp_path / "a", per_class=1)
    before, marker = content(folder), folder / ".painted.json"
    old = json.loads(marker.read_text())
    sums = old.pop("sha256")
    marker.write_text(json.dumps(old))
    assert content(paint_smears(folder, per_class=1)) == before
    assert json.loads(marker.read_text())["sha256"] == sums


def test_a_painting_whose_sums_are_no_list_of_sums_is_painted_again(tmp_path, capsys):
    folder = paint_smears(tmp_path / "a", per_class=1)
    before = content(folder)
    (folder / ".painted.json").write_text("[]")
    assert content(paint_smears(folder, per_class=1)) == before
    assert "painted again" in capsys.readouterr().err
