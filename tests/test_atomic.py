import os
import stat

import pytest

from leukemia.disk import create_text, write_bytes, write_text


def test_text_is_written_as_it_stands_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "one\r\ntwo\nµ")
    assert path.read_bytes() == b"one\r\ntwo\n\xc2\xb5"


def test_the_last_content_replaces_the_first(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"long first content")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_is_there_is_not_created_again(tmp_path):
    path = tmp_path / "new" / "a.txt"
    create_text(path, "first")
    with pytest.raises(FileExistsError):
        create_text(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_others_may_read_what_the_umask_lets_them_read(tmp_path):
    old = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644
