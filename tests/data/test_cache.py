import contextlib
import json
import multiprocessing
import os
import platform
import resource
import shutil
import signal
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.data import cache as checksums
from leukemia.data.cache import open_pixels
from leukemia.data.files.images import read_image
from leukemia.data.files.manifest import Manifest, build_manifest
from leukemia.data.image.mask import MaskSpec, apply_mask
from leukemia.data.image.preprocess import Preprocess, to_square
from leukemia.errors import UserError
from leukemia.runs.environment import peak_memory

SMALL = Preprocess(MaskSpec(), size=32)
# Not forked: a child of a process with threads may wait for ever for a lock that one of them held.
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[Path, Manifest]:
    """Twelve images of several sizes, the last two with the same bytes."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    for name in Classes().names:
        (root / name).mkdir(parents=True)
        for number in range(3):
            image = rng.integers(60, 256, (32 + 8 * number, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(root / name / f"{number}.png"), image)
    shutil.copy(root / "Pro" / "1.png", root / "Pro" / "2.png")
    return root, build_manifest(root, Classes())


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def array_file(cache: Path) -> Path:
    return next(cache.glob("*/*.npy"))


def test_row_i_is_the_preprocessed_file_i(dataset, tmp_path):
    root, manifest = dataset
    pixels = open_pixels(root, manifest, SMALL, tmp_path / "cache", workers=2)
    assert pixels.shape == (12, 32, 32, 3)
    assert pixels.dtype == np.uint8
    for row, file in enumerate(manifest.files):
        np.testing.assert_array_equal(pixels[row], SMALL(read_image(root / file)))
    np.testing.assert_array_equal(pixels[10], pixels[11])
    assert len({row.tobytes() for row in pixels}) == 11


def test_the_square_is_cut_first_and_masked_after():
    rgb = np.random.default_rng(1).integers(0, 256, (100, 50, 3), dtype=np.uint8)
    spec = MaskSpec()
    cut = to_square(rgb, "square", spec, 32)
    np.testing.assert_array_equal(Preprocess(spec, "square", 32)(rgb), apply_mask(cut, spec))
    assert (apply_mask(cut, spec) != to_square(apply_mask(rgb, spec), "square", spec, 32)).any()


def test_the_array_is_mapped_from_disk_and_cannot_be_changed(dataset, tmp_path):
    pixels = open_pixels(*dataset, SMALL, tmp_path / "cache")
    assert isinstance(pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_a_second_run_reads_no_image(dataset, tmp_path):
    root, manifest = dataset
    first = np.array(open_pixels(root, manifest, SMALL, tmp_path / "cache"))
    shutil.rmtree(root)
    np.testing.assert_array_equal(open_pixels(root, manifest, SMALL, tmp_path / "cache"), first)


@pytest.mark.parametrize(
    "other",
    [
        Preprocess(MaskSpec("lab"), size=32),
        Preprocess(MaskSpec("none"), size=32),
        Preprocess(MaskSpec("published", (((0, 0, 0), (255, 255, 255)),)), size=32),
        Preprocess(MaskSpec(), crop="squash", size=32),
        Preprocess(MaskSpec(), size=16),
        Preprocess(MaskSpec(), size=32, scale_bar="remove"),
        Preprocess(MaskSpec("kmeans"), size=32),
    ],
)
def test_other_settings_have_an_array_of_their_own(dataset, tmp_path, other):
    root, manifest = dataset
    cache = tmp_path / "cache"
    first = np.array(open_pixels(root, manifest, SMALL, cache))
    second = open_pixels(root, manifest, other, cache)
    np.testing.assert_array_equal(second[2], other(read_image(root / manifest.files[2])))
    np.testing.assert_array_equal(open_pixels(root, manifest, SMALL, cache), first)
    assert len(entries(cache)) == 2


def test_the_order_and_the_content_of_the_files_count_but_not_their_names(dataset, tmp_path):
    root, manifest = dataset
    cache = tmp_path / "cache"
    first = np.array(open_pixels(root, manifest, SMALL, cache))
    backwards = manifest.take(range(11, -1, -1))
    np.testing.assert_array_equal(open_pixels(root, backwards, SMALL, cache), first[::-1])
    np.testing.assert_array_equal(
        open_pixels(root, manifest.take(range(4)), SMALL, cache), first[:4]
    )
    moved = root.with_name("moved")
    root.rename(moved)
    open_pixels(moved, build_manifest(moved, Classes()), SMALL, cache)
    assert len(entries(cache)) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda array: (array.parent / "marker.json").unlink(),
        lambda array: (array.parent / "marker.json").write_text('{"sha'),
        lambda array: array.write_bytes(array.read_bytes()[:-1]),
        lambda array: array.write_bytes(array.read_bytes() + b"x"),
        lambda array: array.unlink(),
    ],
    ids=["no marker", "half a marker", "short", "long", "no array"],
)
def test_a_damaged_array_is_built_again(dataset, tmp_path, damage):
    cache = tmp_path / "cache"
    first = np.array(open_pixels(*dataset, SMALL, cache))
    damage(array_file(cache))
    np.testing.assert_array_equal(open_pixels(*dataset, SMALL, cache), first)
    marker = json.loads((array_file(cache).parent / "marker.json").read_text())
    assert marker["shape"] == [12, 32, 32, 3]
    assert marker["bytes"] == array_file(cache).stat().st_size
    assert len(entries(cache)) == 1


class Slow(Preprocess):
    """Takes its time, so that others can interfere."""

    def __call__(self, rgb):
        time.sleep(0.03)
        return super().__call__(rgb)


def build_slowly(root: Path, cache: Path, start, results) -> None:
    start.wait()
    pixels = open_pixels(
        root, build_manifest(root, Classes()), Slow(MaskSpec(), size=32), cache, workers=1
    )
    results.put(int(pixels.sum()))


def test_processes_that_build_the_same_array_at_once_all_succeed(dataset, tmp_path):
    root, manifest = dataset
    cache = tmp_path / "cache"
    start, results = SPAWN.Barrier(3), SPAWN.Queue()
    builders = [
        SPAWN.Process(target=build_slowly, args=(root, cache, start, results)) for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    sums = [results.get(timeout=60) for _ in builders]
    for builder in builders:
        builder.join()
    assert sums == [int(open_pixels(root, manifest, SMALL, tmp_path / "alone").sum())] * 3
    assert len(entries(cache)) == 1


def test_a_build_that_was_killed_is_done_again_and_leaves_nothing_behind(dataset, tmp_path):
    root, manifest = dataset
    cache = tmp_path / "cache"
    start, results = SPAWN.Barrier(1), SPAWN.Queue()
    builder = SPAWN.Process(target=build_slowly, args=(root, cache, start, results))
    builder.start()
    while not (cache.is_dir() and entries(cache)):
        time.sleep(0.005)
    os.kill(builder.pid, signal.SIGKILL)
    builder.join()
    assert [name[0] for name in entries(cache)] == ["."]  # the kill came in the middle
    pixels = open_pixels(root, manifest, SMALL, cache)
    np.testing.assert_array_equal(pixels[11], SMALL(read_image(root / manifest.files[11])))
    assert [name[0] for name in entries(cache)] == ["p"]


def test_what_a_dead_process_of_the_same_number_left_does_not_stand_in_the_way(dataset, tmp_path):
    # In a container every start may have the same process number.
    cache = tmp_path / "cache"
    with contextlib.suppress(UserError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # dies before it can tidy up
        open_pixels(tmp_path / "nowhere", dataset[1], SMALL, cache)
    assert len(entries(cache)) == 1
    assert open_pixels(*dataset, SMALL, cache).shape == (12, 32, 32, 3)


def test_what_another_machine_is_building_is_left_alone(dataset, tmp_path):
    theirs = tmp_path / "cache" / f".building.{2**22 + 1}.0123.not-{platform.node()}"
    theirs.mkdir(parents=True)
    open_pixels(*dataset, SMALL, tmp_path / "cache")
    assert theirs.is_dir()


def test_a_full_disk_is_named_with_the_remedy(dataset, tmp_path):
    cache = tmp_path / "cache"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match=f"data.cache_dir '{cache}'.*name another folder"):
            open_pixels(*dataset, SMALL, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert entries(cache) == []


def test_a_cache_folder_that_cannot_be_made_is_named(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data.cache_dir '.*file/cache'"):
        open_pixels(*dataset, SMALL, tmp_path / "file" / "cache")


def test_an_image_that_vanished_since_it_was_listed_is_named(dataset, tmp_path):
    (dataset[0] / "Pre" / "1.png").unlink()
    with pytest.raises(UserError, match=r"Pre/1\.png"):
        open_pixels(*dataset, SMALL, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_an_image_that_changed_since_it_was_listed_is_named(dataset, tmp_path):
    # Otherwise its pixels would be kept under the old file's hash.
    shutil.copy(dataset[0] / "Pre" / "0.png", dataset[0] / "Pre" / "1.png")
    with pytest.raises(UserError, match=r"Pre/1\.png.*changed"):
        open_pixels(*dataset, SMALL, tmp_path / "cache")


def test_a_bad_size_or_mode_is_named():
    with pytest.raises(UserError, match=r"crop.size .* 0"):
        Preprocess(MaskSpec(), size=0)
    with pytest.raises(UserError, match=r"mask.scale_bar .* 'crop'"):
        Preprocess(MaskSpec(), scale_bar="crop")
    with pytest.raises(UserError, match=r"crop.mode .*square, squash.* 'oval'"):
        Preprocess(MaskSpec(), crop="oval")


def build_many(root: Path, many: Manifest, cache: Path, results) -> None:
    before = peak_memory()
    open_pixels(root, many, Preprocess(MaskSpec("none")), cache, workers=2)
    results.put(peak_memory() - before)


def test_memory_does_not_grow_with_the_number_of_images(dataset, tmp_path):
    root, manifest = dataset
    many = manifest.take(np.arange(1200) % 12)

    results = SPAWN.Queue()
    builder = SPAWN.Process(target=build_many, args=(root, many, tmp_path / "cache", results))
    builder.start()
    grown = results.get(timeout=60)
    builder.join()
    assert array_file(tmp_path / "cache").stat().st_size > 180e6
    assert grown < 40  # MiB


# Damage, and what others left --------------------------------------------------------------


def invert(path: Path, start: int, length: int = 8) -> None:
    """Change bytes so that size and time of change stay as they were."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(start)
        old = file.read(length)
        file.seek(start)
        file.write(bytes(255 - byte for byte in old))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("start", [20, 2000, -8], ids=["header", "middle", "end"])
def test_changed_bytes_in_an_array_are_found_and_mended(dataset, tmp_path, start, capsys):
    cache = tmp_path / "cache"
    first = np.array(open_pixels(*dataset, SMALL, cache))
    path = array_file(cache)
    invert(path, start % path.stat().st_size)
    capsys.readouterr()
    np.testing.assert_array_equal(open_pixels(*dataset, SMALL, cache), first)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"'{path.parent}' is damaged" in said
    assert "built again" in said
    open_pixels(*dataset, SMALL, cache)
    assert capsys.readouterr().err == ""


def test_an_array_is_checked_once_in_a_process(dataset, tmp_path, monkeypatch):
    open_pixels(*dataset, SMALL, tmp_path / "cache")
    counted = []
    monkeypatch.setattr(checksums, "checksum", lambda data: counted.append(1) or zlib.crc32(data))
    for _ in range(3):
        open_pixels(*dataset, SMALL, tmp_path / "cache")
    assert len(counted) == 1 + 12


def test_an_array_without_checksums_is_made_again(dataset, tmp_path, capsys):
    open_pixels(*dataset, SMALL, tmp_path / "cache")
    marker = array_file(tmp_path / "cache").parent / "marker.json"
    content = json.loads(marker.read_text())
    del content["crc32"]
    marker.write_text(json.dumps(content))
    open_pixels(*dataset, SMALL, tmp_path / "cache")
    assert "built again" in capsys.readouterr().err
    assert "crc32" in json.loads(marker.read_text())


@pytest.mark.parametrize("stray", ["file", "folder", "array", "marker", "link"])
def test_what_lies_where_the_array_should_is_put_away(dataset, tmp_path, stray):
    cache = tmp_path / "cache"
    first = np.array(open_pixels(*dataset, SMALL, cache))
    folder = array_file(cache).parent
    if stray in ("array", "marker"):
        path = folder / {"array": "pixels.npy", "marker": "marker.json"}[stray]
        path.unlink()
        path.mkdir()
        (path / "mine.txt").touch()
    else:
        shutil.rmtree(folder)
        if stray == "file":
            folder.touch()
        elif stray == "folder":
            (folder / "deep").mkdir(parents=True)
        else:
            (tmp_path / "away").mkdir()
            (tmp_path / "away" / "kept.txt").touch()
            folder.symlink_to(tmp_path / "away")
    np.testing.assert_array_equal(open_pixels(*dataset, SMALL, cache), first)
    assert not folder.is_symlink()
    if stray == "link":
        assert (tmp_path / "away" / "kept.txt").is_file()


def test_strangers_in_the_cache_are_left_alone(dataset, tmp_path):
    cache = tmp_path / "cache"
    names = [".building.x", ".building.1", "notes.txt", ".building.", ".hidden", "pixels-x"]
    for name in names:
        (cache / name).mkdir(parents=True)
    open_pixels(*dataset, SMALL, cache)
    build_manifest(dataset[0], Classes(), cache_dir=cache)
    assert set(names) < set(entries(cache))


def test_an_array_larger_than_the_disk_is_refused_before_it_is_made(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=30_000))
    monkeypatch.setattr(Preprocess, "__call__", lambda *_: pytest.fail("was begun"))
    with pytest.raises(UserError, match=r"36,864 bytes, and 30,000 are free"):
        open_pixels(*dataset, SMALL, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_an_image_that_cannot_be_prepared_is_named(dataset, tmp_path, monkeypatch):
    def prepare(self, rgb):
        raise cv2.error("OpenCV: of no size")

    monkeypatch.setattr(Preprocess, "__call__", prepare)
    with pytest.raises(UserError, match=r"Benign/0\.png' cannot be prepared: .*of no size"):
        open_pixels(*dataset, SMALL, tmp_path / "cache", workers=1)
    assert entries(tmp_path / "cache") == []
