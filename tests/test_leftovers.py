"""What killed processes left in a cache is swept, and nothing else."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leukemia.disk import building, sweep

GONE = subprocess.Popen([sys.executable, "-c", ""])
GONE.wait()
HEX = "0123456789abcdef" * 2


def left(folder: Path, name: str, *, hours: float = 0, as_folder: bool = False) -> Path:
    path = folder / name
    if as_folder:
        path.mkdir()
        (path / "pixels.npy").write_bytes(b"x")
    else:
        path.write_bytes(b"x")
    written = time.time() - 3600 * hours
    for one in (*(path.iterdir() if as_folder else ()), path):
        os.utime(one, (written, written))
    return path


@pytest.mark.parametrize("as_folder", [True, False])
def test_what_a_dead_process_left_is_removed_at_once(tmp_path, as_folder):
    left(tmp_path, f".building.{GONE.pid}.{HEX}.{platform.node()}", as_folder=as_folder)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("who", ["here, alive", "elsewhere"])
def test_what_may_still_be_made_is_left_for_a_day(tmp_path, who):
    pid, node = (os.getpid(), platform.node()) if who == "here, alive" else (GONE.pid, "else.where")
    young = left(tmp_path, f".building.{pid}.{HEX}.{node}", hours=23, as_folder=True)
    left(tmp_path, f".building.{pid}.{HEX[::-1]}.{node}", hours=25, as_folder=True)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


def test_a_folder_that_is_still_written_to_is_young_however_old_it_is(tmp_path):
    path = left(tmp_path, f".building.1.{HEX}.else.where", hours=48, as_folder=True)
    os.utime(path / "pixels.npy")
    sweep(tmp_path)
    assert path.is_dir()


def test_a_file_that_was_half_written_goes_after_a_day(tmp_path):
    left(tmp_path, f".{HEX}.tmp", hours=25)
    young = left(tmp_path, f".{HEX[::-1]}.tmp", hours=1)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


@pytest.mark.parametrize(
    "name",
    [".building", ".building.1", f".building.{10**12}.{HEX}.x", ".building.x.y.z", "a.tmp", ".git"],
)
def test_what_is_not_ours_is_never_touched(tmp_path, name):
    path = left(tmp_path, name, hours=1000, as_folder=True)
    sweep(tmp_path)
    assert path.is_dir()


def test_an_entry_is_removed_where_it_is_not_finished(tmp_path):
    with building(tmp_path / "cache") as beside:
        beside.mkdir()
        (beside / "half").touch()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_listed_is_left_as_it_is(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)
    sweep(tmp_path)
