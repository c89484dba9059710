"""Going on with a run: what is refused."""

import shutil
from pathlib import Path

import pytest

from leukemia.runs.directory import RunDir
from tests.commands import SMALL, painted, run_here


def test_resuming_a_finished_run_changes_nothing(finished: Path, cache: Path):
    before = (finished / "metrics.json").stat().st_mtime_ns
    again = run_here("train", f"resume={finished}", cache=cache, cwd=finished.parent)
    assert again.returncode == 0
    assert "finished already" in again.stdout
    assert (finished / "metrics.json").stat().st_mtime_ns == before


def test_a_second_run_into_the_same_folder_is_refused(finished: Path, cache: Path):
    again = run_here("train", *SMALL, f"hydra.run.dir={finished}", cache=cache, cwd=finished.parent)
    assert again.returncode == 2
    assert f"resume={finished}" in again.stderr
    assert (finished / "DONE").is_file()


def test_a_run_that_another_process_trains_is_not_gone_on_with(
    finished: Path, cache: Path, tmp_path: Path
):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "DONE").unlink()
    with RunDir(folder).held():
        busy = run_here("train", f"resume={folder}", cache=cache, cwd=tmp_path)
    assert busy.returncode == 2
    assert busy.stderr.count("\n") == 1, busy.stderr
    assert f"'{folder}' is being trained by another process" in busy.stderr
    assert not (folder / "DONE").exists()
    free = run_here("train", f"resume={folder}", cache=cache, cwd=tmp_path)
    assert free.returncode == 0, free.stderr
    assert (folder / "metrics.json").read_text() == (finished / "metrics.json").read_text()


def test_a_resume_refuses_other_settings_and_other_images(
    finished: Path, cache: Path, tmp_path: Path
):
    folder, images = tmp_path / "run", tmp_path / "images"
    shutil.copytree(painted(cache), images)
    settings = [*SMALL[2:], "data=folder", f"data.root={images}", "trainer.max_epochs=1"]
    first = run_here("train", *settings, f"hydra.run.dir={folder}", cache=cache, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (folder / "DONE").unlink()
    other = run_here("train", f"resume={folder}", "seed=1", cache=cache, cwd=tmp_path)
    assert other.returncode == 2
    assert "seed=1" in other.stderr
    (images / "Pro" / "WBC-Pro-001.jpg").unlink()
    changed = run_here("train", f"resume={folder}", cache=cache, cwd=tmp_path)
    assert changed.returncode == 2
    assert "split.csv" in changed.stderr
    assert "WBC-Pro-001.jpg" in (folder / "split.csv").read_text()


def unfinished(finished: Path, folder: Path) -> Path:
    shutil.copytree(finished, folder)
    (folder / "DONE").unlink()
    return folder


def test_settings_that_changed_in_mid_run_are_refused(finished: Path, cache: Path, tmp_path: Path):
    folder = unfinished(finished, tmp_path / "run")
    config = folder / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("lambda_bce: 1.0", "lambda_bce: 2.0"))
    assert config.read_text() != text
    done = run_here("train", f"resume={folder}", cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "config.yaml' has changed since the run began" in done.stderr


@pytest.mark.parametrize("kept", [None, 0, 3, -1], ids=["deleted", "empty", "three", "all but one"])
def test_a_history_that_lost_rows_in_mid_run_is_whole_in_the_end(
    kept: int | None, finished: Path, cache: Path, tmp_path: Path
):
    folder = unfinished(finished, tmp_path / "run")
    history = folder / "history.csv"
    lines = history.read_text().splitlines(keepends=True)
    if kept is None:
        history.unlink()
    else:
        history.write_text("".join([lines[0], *lines[1:][:kept]]))
    done = run_here("train", f"resume={folder}", cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert history.read_text() == "".join(lines)


def test_a_stage_that_was_lost_in_mid_run_is_fitted_again_in_its_place(
    finished: Path, cache: Path, tmp_path: Path
):
    folder = unfinished(finished, tmp_path / "run")
    before = (folder / "history.csv").read_text()
    (folder / "checkpoints" / "head.ckpt").unlink()
    done = run_here("train", f"resume={folder}", cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (folder / "history.csv").read_text() == before
