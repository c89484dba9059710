"""The cache of pixels: whole or not at all, whoever builds it."""

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.data.cache import Preprocess, open_pixels
from leukemia.data.files import read_image
from leukemia.data.manifest import build_manifest
from leukemia.data.mask import MaskSpec
from leukemia.errors import UserError

PLAIN = Preprocess(MaskSpec("none"), size=32)
TWO = Classes(("Benign", "Pro"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in TWO.names:
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(6):
            image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{number}.png"), image)
    return tmp_path / "images"


def build(root: Path, cache: Path, preprocess: Preprocess = PLAIN) -> np.ndarray:
    return open_pixels(root, build_manifest(root, TWO), preprocess, cache)


def test_rows_are_the_preprocessed_images(root, tmp_path):
    lab = Preprocess(MaskSpec("lab"), "squash", 16)
    manifest = build_manifest(root, TWO)
    array = open_pixels(root, manifest, lab, tmp_path / "cache")
    assert array.shape == (12, 16, 16, 3)
    assert array.dtype == np.uint8
    assert isinstance(array, np.memmap)
    for row, file in enumerate(manifest.files):
        assert np.array_equal(array[row], lab(read_image(root / file)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_a_second_run_reads_no_image(root, tmp_path):
    manifest = build_manifest(root, TWO)
    first = np.array(open_pixels(root, manifest, PLAIN, tmp_path / "cache"))
    shutil.rmtree(root)
    again = open_pixels(root, manifest, PLAIN, tmp_path / "cache")
    assert np.array_equal(first, again)


def test_other_settings_and_other_files_get_other_caches(root, tmp_path):
    cache = tmp_path / "cache"
    build(root, cache)
    build(root, cache, Preprocess(MaskSpec("lab"), size=32))
    build(root, cache, Preprocess(MaskSpec("none"), "squash", 32))
    image = np.zeros((32, 32, 3), np.uint8)
    cv2.imwrite(str(root / "Pro" / "0.png"), image)
    changed = build(root, cache)
    assert (changed[6] == 0).all()
    assert len(list(cache.glob("pixels-*"))) == 4


@pytest.mark.parametrize("damage", ["marker", "array", "garbage"])
def test_a_half_written_or_stale_cache_is_rebuilt(root, tmp_path, damage):
    whole = np.array(build(root, tmp_path / "cache"))
    (folder,) = (tmp_path / "cache").glob("pixels-*")
    if damage == "marker":
        (folder / "marker.json").unlink()
    elif damage == "array":
        with (folder / "pixels.npy").open("r+b") as file:
            file.truncate(500)
    else:
        (folder / "marker.json").write_text("{")
    assert np.array_equal(build(root, tmp_path / "cache"), whole)


def test_two_processes_at_once_both_succeed(root, tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        shapes = pool.starmap(_shape, [(root, tmp_path / "cache")] * 4)
    assert shapes == [(12, 32, 32, 3)] * 4
    left = [path.name for path in (tmp_path / "cache").iterdir()]
    assert len(left) == 1
    assert left[0].startswith("pixels-")


def _shape(root: Path, cache: Path) -> tuple[int, ...]:
    return build(root, cache).shape


def test_a_killed_build_leaves_nothing_that_counts(root, tmp_path):
    cache = tmp_path / "cache"
    process = multiprocessing.get_context("spawn").Process(target=_hang, args=(root, cache))
    process.start()
    deadline = time.monotonic() + 60
    while not list(cache.glob(".building-*/pixels.npy")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(cache.glob("pixels-*")) == []
    manifest = build_manifest(root, TWO)
    array = build(root, cache)
    assert np.array_equal(array[3], read_image(root / manifest.files[3]))
    assert list(cache.glob(".building-*")) == []


def _hang(root: Path, cache: Path) -> None:
    import leukemia.data.cache as module

    module.read_image = lambda path: time.sleep(600)
    build(root, cache)


def test_a_cache_that_cannot_be_written_is_one_line(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data\.cache_dir"):
        build(root, tmp_path / "file")


def test_a_size_that_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"crop\.size"):
        Preprocess(size=0)
