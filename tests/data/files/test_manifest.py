import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukemia.classes import Classes
from leukemia.data.files import manifest as module
from leukemia.data.files.manifest import BadFile, Manifest, build_manifest
from leukemia.errors import UserError

CLASSES = Classes(("Benign", "Early"))


def paint(path: Path, value: int, width: int = 6, height: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (value, 0, 0)).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "images"
    paint(root / "Early" / "細胞 2.png", 1)
    paint(root / "Early" / "1.jpg", 2, width=9)
    paint(root / "Benign" / "1.bmp", 3)
    return root


@pytest.fixture
def spoilt(root):
    (root / "Early" / "empty.png").touch()
    (root / "Early" / "note.txt").write_text("no image")
    cut = paint(root / "Benign" / "cut.jpg", 5, width=80, height=80)
    cut.write_bytes(cut.read_bytes()[:-10])
    return root


def refusal(*args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        build_manifest(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def columns(manifest: Manifest) -> tuple:
    return manifest.files, manifest.labels.tolist(), manifest.sizes.tolist(), manifest.sha256


def no_decoding(data: bytes) -> None:
    raise AssertionError("an image was decoded again")


def test_a_row_an_image(root):
    manifest = build_manifest(root, CLASSES)
    assert len(manifest) == 3
    assert manifest.files == ("Benign/1.bmp", "Early/1.jpg", "Early/細胞 2.png")
    assert manifest.labels.tolist() == [0, 1, 1]
    assert manifest.labels.dtype == manifest.sizes.dtype == np.int64
    assert manifest.sizes.tolist() == [[6, 4], [9, 4], [6, 4]]
    expected = [hashlib.sha256((root / file).read_bytes()).hexdigest() for file in manifest.files]
    assert list(manifest.sha256) == expected
    assert manifest.skipped == ()


def test_sizes_are_upright(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 4)).save(root / "Early" / "1.jpg", exif=exif)
    assert build_manifest(root, CLASSES).sizes[1].tolist() == [4, 9]


def test_the_number_of_workers_changes_nothing(root):
    one, four = (build_manifest(root, CLASSES, workers=n) for n in (1, 4))
    assert columns(one) == columns(four)


def test_take_keeps_rows_in_the_order_asked_for(root):
    manifest = build_manifest(root, CLASSES)
    taken = manifest.take(np.array([2, 0]))
    assert taken.files == ("Early/細胞 2.png", "Benign/1.bmp")
    assert taken.labels.tolist() == [1, 0]
    assert taken.sizes.tolist() == [[6, 4], [6, 4]]
    assert taken.sha256 == (manifest.sha256[2], manifest.sha256[0])
    assert len(manifest.take([])) == 0


def test_the_fingerprint_follows_files_labels_and_hashes():
    def print_of(files=("a", "b"), labels=(0, 1), sha256=("x", "y")):
        sizes = np.zeros((2, 2), np.int64)
        return Manifest(files, np.array(labels), sizes, sha256).fingerprint

    assert print_of() == print_of()
    different = {
        print_of(),
        print_of(files=("a", "c")),
        print_of(labels=(1, 1)),
        print_of(sha256=("x", "z")),
        print_of(files=("b", "a")),
    }
    assert len(different) == 5


def test_all_bad_files_are_named_in_one_error_with_reasons(spoilt):
    message = refusal(spoilt, CLASSES)
    assert "3 of 6 files" in message
    assert "Early/empty.png (empty file (0 bytes))" in message
    assert "Early/note.txt (truncated, or no image" in message
    assert "Benign/cut.jpg (damaged: image file is truncated" in message
    assert "data.on_bad=skip" in message


def test_of_many_bad_files_twenty_are_listed_and_the_rest_counted(root):
    for number in range(25):
        (root / "Early" / f"bad{number:02d}.png").touch()
    message = refusal(root, CLASSES)
    assert message.count("empty file") == 20
    assert "and 5 more" in message


def test_skip_leaves_bad_files_out_and_records_them(spoilt):
    manifest = build_manifest(spoilt, CLASSES, on_bad="skip")
    assert manifest.files == ("Benign/1.bmp", "Early/1.jpg", "Early/細胞 2.png")
    assert [bad.path for bad in manifest.skipped] == [
        "Benign/cut.jpg",
        "Early/empty.png",
        "Early/note.txt",
    ]
    assert manifest.skipped[1] == BadFile("Early/empty.png", "empty file (0 bytes)")


def test_a_class_emptied_by_skip_is_refused(root):
    (root / "Benign" / "1.bmp").write_bytes(b"")
    message = refusal(root, CLASSES, on_bad="skip")
    assert "No readable image is left in Benign" in message
    assert "Benign/1.bmp (empty file" in message


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"on_bad": "ignore"}, "data.on_bad"),
        ({"workers": 0}, "data.workers"),
        ({"workers": "all"}, "data.workers"),
    ],
)
def test_a_bad_setting_is_named(root, setting, told):
    assert told in refusal(root, CLASSES, **setting)


# The cache --------------------------------------------------------------------------------


def test_a_second_call_decodes_nothing(root, tmp_path, monkeypatch):
    first = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(module, "decode_image", no_decoding)
    second = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    assert columns(second) == columns(first)
    assert second.sizes.dtype == np.int64


def test_the_cache_is_one_whole_file(root, tmp_path):
    for _ in range(2):
        build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".json"]


def test_bad_files_are_looked_at_again_and_others_not(spoilt, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    refusal(spoilt, CLASSES, cache_dir=cache)
    decoded = []
    real = module.decode_image

    def spy(data):
        decoded.append(data)
        return real(data)

    monkeypatch.setattr(module, "decode_image", spy)
    manifest = build_manifest(spoilt, CLASSES, on_bad="skip", cache_dir=cache)
    assert len(manifest) == 3
    assert len(manifest.skipped) == 3
    assert sorted(decoded) == sorted(
        (spoilt / file).read_bytes() for file in ("Benign/cut.jpg", "Early/note.txt")
    )


def change_content(root: Path) -> None:
    paint(root / "Early" / "1.jpg", 200, width=9)


def change_time_only(root: Path) -> None:
    # As many bytes, so only the time of change tells.
    path = root / "Benign" / "1.bmp"
    size, time = path.stat().st_size, path.stat().st_mtime_ns
    paint(path, 77)
    assert path.stat().st_size == size
    os.utime(path, ns=(time + 1, time + 1))


def add(root: Path) -> None:
    paint(root / "Benign" / "2.png", 9)


def remove(root: Path) -> None:
    (root / "Early" / "1.jpg").unlink()


def rename(root: Path) -> None:
    (root / "Early" / "1.jpg").rename(root / "Benign" / "0.jpg")


@pytest.mark.parametrize("change", [change_content, change_time_only, add, remove, rename])
def test_a_change_of_the_folder_is_seen(root, tmp_path, change):
    build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    change(root)
    cached = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    assert columns(cached) == columns(build_manifest(root, CLASSES))


def test_two_datasets_share_a_cache_folder(root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    # As long and as old as its namesake, so only the folder tells them apart.
    time = (root / "Benign" / "1.bmp").stat().st_mtime_ns
    os.utime(paint(other / "Benign" / "1.bmp", 250), ns=(time, time))
    first = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    second = build_manifest(other, CLASSES, cache_dir=tmp_path / "cache")
    assert first.sha256 != second.sha256
    swapped = Classes(("Early", "Benign"))
    assert build_manifest(root, swapped, cache_dir=tmp_path / "cache").labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("damage", ["cut", "binary", "other json", "one digit"])
def test_a_corrupt_cache_is_rebuilt(root, tmp_path, damage):
    expected = columns(build_manifest(root, CLASSES, cache_dir=tmp_path / "cache"))
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    content = json.loads(whole)
    content["facts"]["Early/1.jpg"][0] += 1
    file.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "binary": b"\xff\x00\xfe",
            "other json": b"[1, 2]",
            "one digit": json.dumps(content).encode(),
        }[damage]
    )
    assert columns(build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")) == expected
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_named(root, tmp_path):
    (tmp_path / "file").touch()
    message = refusal(root, CLASSES, cache_dir=tmp_path / "file")
    assert "data.cache_dir" in message
    assert str(tmp_path / "file") in message


def test_the_real_images(aria, tmp_path, monkeypatch):
    manifest = build_manifest(aria, Classes(), cache_dir=tmp_path)
    assert len(manifest) == 2604
    assert np.bincount(manifest.labels).tolist() == [504, 700, 700, 700]
    assert (manifest.sizes == 224).all()
    assert len(set(manifest.sha256)) == 2604 - 40
    monkeypatch.setattr(module, "decode_image", no_decoding)
    again = build_manifest(aria, Classes(), cache_dir=tmp_path)
    assert again.fingerprint == manifest.fingerprint


# What cannot lie cheaply --------------------------------------------------------------------


def exchange(path: Path, content: bytes) -> None:
    """Replace a file's content by as many bytes, and put its time of change back."""
    stat = path.stat()
    assert len(content) == stat.st_size
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns


def test_files_exchanged_for_others_of_the_same_size_and_time_are_seen(root, tmp_path):
    paint(root / "Benign" / "2.bmp", 50)
    paint(root / "Early" / "2.bmp", 90)
    before = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    one, other = root / "Benign" / "2.bmp", root / "Early" / "2.bmp"
    a, b = one.read_bytes(), other.read_bytes()
    exchange(one, b)
    exchange(other, a)
    after = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    assert columns(after) == columns(build_manifest(root, CLASSES))
    assert after.sha256[1] == before.sha256[3]
    assert after.fingerprint != before.fingerprint


def test_seven_benign_images_exchanged_for_seven_others_are_seen(aria, tmp_path):
    here, classes = tmp_path / "images", Classes()
    for name in classes.names:
        (here / name).mkdir(parents=True)
        for path in sorted((aria / name).iterdir())[:12]:
            shutil.copy(path, here / name)
    before = build_manifest(here, classes, cache_dir=tmp_path / "cache")
    benign, pro = (sorted((here / name).iterdir())[:7] for name in ("Benign", "Pro"))
    for one, other in zip(benign, pro, strict=True):
        stat, data = one.stat(), other.read_bytes()
        size = max(stat.st_size, len(data))
        # As long as its predecessor: bytes behind a JPEG's end do no harm.
        one.write_bytes(one.read_bytes() + bytes(size - stat.st_size))
        os.utime(one, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    before = build_manifest(here, classes, cache_dir=tmp_path / "cache")
    for one, other in zip(benign, pro, strict=True):
        data = other.read_bytes()
        exchange(one, data + bytes(one.stat().st_size - len(data)))
    after = build_manifest(here, classes, cache_dir=tmp_path / "cache")
    changed = [a != b for a, b in zip(before.sha256, after.sha256, strict=True)]
    assert sum(changed) == 7
    assert all(changed[:7])


def test_whatever_lies_all_files_are_hashed_where_that_is_asked_for(root, tmp_path, monkeypatch):
    before = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    path = root / "Early" / "1.jpg"
    real = module.stamp_of
    stamp = real(path)
    paint(path, 200, width=9)
    monkeypatch.setattr(module, "stamp_of", lambda file: stamp if file == path else real(file))
    assert build_manifest(root, CLASSES, cache_dir=tmp_path / "cache").sha256 == before.sha256
    verified = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache", verify=True)
    assert columns(verified) == columns(build_manifest(root, CLASSES))
    assert verified.sha256 != before.sha256
    # What was found is kept.
    assert build_manifest(root, CLASSES, cache_dir=tmp_path / "cache").sha256 == verified.sha256


def test_a_cache_that_came_from_another_machine_serves_after_hashing(root, tmp_path, monkeypatch):
    first = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copy2)
    shutil.rmtree(root)
    copy.rename(root)  # every inode and ctime is another
    monkeypatch.setattr(module, "decode_image", no_decoding)
    read = []
    monkeypatch.setattr(module, "read_bytes", lambda path: read.append(path) or path.read_bytes())
    assert columns(build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")) == columns(first)
    assert len(read) == 3
    build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    assert len(read) == 3


def test_a_damaged_cache_is_told_in_one_line(root, tmp_path, capsys):
    build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(bytes(100))
    build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"'{file}' is damaged" in said
    build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    assert capsys.readouterr().err == ""


def test_a_folder_in_place_of_the_cache_s_file_is_put_away(root, tmp_path):
    build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.unlink()
    (file / "deep").mkdir(parents=True)
    assert len(build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")) == 3
    assert file.is_file()


def test_an_unchanged_folder_needs_no_writing(root, tmp_path, monkeypatch):
    first = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(module, "save_facts", lambda *_: pytest.fail("was written"))
    for verify in (False, True):
        again = build_manifest(root, CLASSES, cache_dir=tmp_path / "cache", verify=verify)
        assert columns(again) == columns(first)


def test_what_nobody_thought_of_happens_to_one_file_alone(root, monkeypatch):
    def decode(data: bytes):
        if data == (root / "Early" / "1.jpg").read_bytes():
            raise ZeroDivisionError("so it goes")
        return real(data)

    real = module.decode_image
    monkeypatch.setattr(module, "decode_image", decode)
    manifest = build_manifest(root, CLASSES, on_bad="skip")
    assert [bad.reason for bad in manifest.skipped] == [
        "cannot be used: ZeroDivisionError (so it goes)"
    ]


def test_what_a_killed_process_left_is_swept_also_where_nothing_is_new(root, tmp_path):
    cache = tmp_path / "cache"
    build_manifest(root, CLASSES, cache_dir=cache)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = cache / f".building.{gone.pid}.{'0' * 32}.{platform.node()}"
    left.mkdir()
    build_manifest(root, CLASSES, cache_dir=cache)
    assert [path.suffix for path in cache.iterdir()] == [".json"]
