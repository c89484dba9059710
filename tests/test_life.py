"""The life of a run from its start to DONE, and what machines do to it meanwhile."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import ProgressBar
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset, get_worker_info

import leukemia.runs.stages
import leukemia.train
from leukemia import disk
from leukemia.cli import CONF
from leukemia.compose.network import on_this_machine
from leukemia.data import datamodule as memory
from leukemia.data.datamodule import ArrayDataModule
from leukemia.errors import UserError
from leukemia.models.classifier import Classifier
from leukemia.runs.directory import RunDir, open_run
from leukemia.runs.environment import Sessions, together
from leukemia.runs.plain import write_own
from leukemia.settings import settled as machine
from leukemia.training.callbacks import Bar
from leukemia.training.hardware import Hardware
from leukemia.training.stage import interruptible, make_trainer
from tests.commands import (
    CLASSES,
    SMALL,
    command,
    environment,
    epochs_of,
    painted,
    rows,
    run_here,
    write_toy,
)

TOY = [
    *("data=embeddings", "split=stratified", "loss.cancer_weight=1", "report.map=null"),
    *("stage.head.epochs=4", "stage.head.batch_size=16", "runtime.save_every=0"),
    "runtime.threads=1",
]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_toy(tmp_path / "toy.npz", per_class=20)
    return tmp_path / "toy.npz"


def train(folder: Path, toy: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    words = [*TOY, f"data.file={toy}", f"hydra.run.dir={folder}", *changes]
    return run_here("train", *words, cache=toy.parent, cwd=toy.parent)


def resume(folder: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    return run_here("train", f"resume={folder}", *changes, cache=folder.parent, cwd=folder.parent)


def assert_one_line(done: subprocess.CompletedProcess[str], *told: str, status: int = 2) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for words in told:
        assert words in done.stderr


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def begun(tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped in its third epoch."""
    folder, write = tmp_path / "run", leukemia.runs.stages.write_history

    def stop(path: Path, table: list[dict[str, object]]) -> None:
        if len(table) == 3:
            raise KeyboardInterrupt
        write(path, table)

    with monkeypatch.context() as patched:
        patched.setattr(leukemia.runs.stages, "write_history", stop)
        stopped = train(folder, toy)
    assert_one_line(stopped, f"interrupted: go on with resume={folder}", status=130)
    return folder


# --- its images, and its lock


def test_changed_images_are_refused_without_a_write_to_split_csv(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = begun(tmp_path, toy, monkeypatch)
    before = (folder / "split.csv").stat()
    with np.load(toy) as archive:
        values, files = archive["embeddings"].copy(), archive["files"]
    values[rows(folder / "split.csv").__len__() // 2] += 1
    np.savez(toy, embeddings=values, files=files)
    for _ in range(2):
        assert_one_line(resume(folder), "split.csv", "has changed (its sha256 is another)")
    after = (folder / "split.csv").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_what_is_run_knows_its_images_whenever_it_is_killed(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []

    def note(path: Path, *content: object) -> None:
        written.append(path.name)

    def start(run: RunDir, cfg: object) -> None:
        written.append("config.yaml")
        with pytest.raises(UserError, match="trained by another process"), run.held():
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(leukemia.train, "write_text", note)
    monkeypatch.setattr(RunDir, "start", start)
    assert_one_line(train(tmp_path / "run", toy), "interrupted", status=130)
    assert written == ["split.csv", "config.yaml"]


def test_a_run_without_its_split_csv_is_not_gone_on_with(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = begun(tmp_path, toy, monkeypatch)
    (folder / "split.csv").unlink()
    assert_one_line(resume(folder), "split.csv")
    assert not (folder / "split.csv").exists()


def test_weights_that_changed_are_refused_and_those_that_moved_are_not(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from torchvision import models

    state = models.shufflenet_v2_x0_5(weights=None).state_dict()
    for name, change in (("one", 0.0), ("two", 1.0)):
        state["conv1.0.weight"] += change
        torch.save(state, tmp_path / f"{name}.pth")
    words = [*SMALL, f"model.backbone.weights={tmp_path / 'one.pth'}", "stages=[head]"]
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(leukemia.runs.stages, "write_history", interrupt)
        words.append(f"hydra.run.dir={folder}")
        assert run_here("train", *words, cache=cache, cwd=tmp_path).returncode == 130
    (tmp_path / "one.pth").rename(tmp_path / "here.pth")

    def go_on(*changes: str) -> subprocess.CompletedProcess[str]:
        return run_here("train", f"resume={folder}", *changes, cache=cache, cwd=tmp_path)

    assert_one_line(go_on(), "model.backbone.weights", "one.pth")
    assert_one_line(go_on("model.backbone.weights=two.pth"), "two.pth holds other weights")
    done = go_on("model.backbone.weights=here.pth")
    assert done.returncode == 0, done.stderr


# --- its time, and its folder


def test_the_time_of_all_sessions_counts_also_of_one_that_was_killed(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = begun(tmp_path, toy, monkeypatch)
    (earlier,) = json.loads((folder / "sessions.json").read_text())
    assert earlier["seconds"] >= 0
    (folder / "sessions.json").write_text(
        json.dumps([{**earlier, "seconds": 1000.0, "peak_memory_mb": 10**7}])
    )
    assert resume(folder).returncode == 0
    found = json.loads((folder / "environment.json").read_text())
    assert found["wall_seconds"] >= 1000
    assert found["peak_memory_mb"] == 10**7
    assert found["sessions"][0]["seconds"] == 1000
    assert len(found["sessions"]) == 2
    assert not (folder / "sessions.json").exists()


def test_a_session_is_noted_as_it_goes(tmp_path: Path):
    run = RunDir(tmp_path)
    run.config.touch()
    Sessions(run, "cpu", time.monotonic() - 50)  # killed
    second = Sessions(run, "cuda", time.monotonic() - 7)
    found = together(second.all())
    assert found["wall_seconds"] == pytest.approx(57, abs=1)
    assert [one["device"] for one in found["sessions"]] == ["cpu", "cuda"]
    one = '[{"device": "cpu", "seconds": %s, "peak_memory_mb": %s}]'
    for text in ("[{]", "5", one % ("NaN", 1), one % (-1, 1), one % (1, "Infinity")):
        second.path.write_text(text)
        with pytest.raises(UserError, match=r"sessions\.json"):
            Sessions(run, "cpu", time.monotonic())


@pytest.mark.parametrize("what", ["deleted", "replaced", "config"])
def test_a_run_directory_that_is_taken_away_ends_in_one_error(
    what: str, tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, write = tmp_path / "run", leukemia.runs.stages.write_history

    def take_away(path: Path, table: list[dict[str, object]]) -> None:
        write(path, table)
        if len(table) == 2:
            if what == "config":
                (folder / "config.yaml").unlink()
            else:
                shutil.rmtree(folder)
            if what == "replaced":
                folder.mkdir()
                (folder / "config.yaml").touch()

    monkeypatch.setattr(leukemia.runs.stages, "write_history", take_away)
    assert_one_line(train(folder, toy), f"'{folder}' was deleted or moved")
    assert not (folder / "DONE").exists()


def test_a_run_that_lost_a_file_is_not_called_finished(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    from leukemia.runs import pages as results

    write = results.write_page

    def lose(run: RunDir, *args: object, **kwargs: object) -> None:
        write(run, *args, **kwargs)
        run.predictions("test").unlink()

    monkeypatch.setattr(results, "write_page", lose)
    assert_one_line(train(tmp_path / "run", toy), "lacks predictions/test.csv")
    assert not (tmp_path / "run" / "DONE").exists()


# --- what is not finite


@pytest.mark.parametrize(
    "changes",
    [
        ["stage.head.optimizer.lr=1e30"],
        ["stage.head.optimizer.lr=1e9", "stage.head.patience=2"],
        ["stage.head.optimizer.lr=1e30", "schedule=constant", "stage.head.ema_decay=0.9"],
        ["stage.head.optimizer.lr=1e30", "head=linear", "stage.head.monitor=accuracy"],
    ],
    ids=["rate", "patience", "averaged", "accuracy"],
)
def test_a_training_that_comes_apart_says_where_and_what_helps(
    changes: list[str], tmp_path: Path, toy: Path
):
    done = train(tmp_path / "run", toy, *changes)
    lr = float(changes[0].partition("lr=")[2])
    assert_one_line(
        done,
        "Stage head came apart in epoch",
        "at a learning rate of",
        f"with a lower stage.head.optimizer.lr (it is {lr:g})",
    )
    assert not any(name in done.stderr for name in CLASSES)
    assert not (tmp_path / "run" / "DONE").exists()
    for path in (tmp_path / "run").rglob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_the_state_to_resume_from_stays_finite(
    what: str, tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    step = Classifier.training_step

    def break_down(module: Classifier, batch: object, batch_idx: int) -> torch.Tensor:
        loss = step(module, batch, batch_idx)
        if module.current_epoch == 2 and what == "loss":
            module.log("train_loss", torch.tensor(float("inf")), on_step=False, on_epoch=True)
        if module.current_epoch == 2 and what == "weights":
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))
        return loss

    monkeypatch.setattr(Classifier, "training_step", break_down)
    changes = ["head=linear", "stage.head.refit=true"] if what == "weights" else []
    assert_one_line(train(tmp_path / "run", toy, *changes), "Stage head came apart in epoch 2")
    for name in ("last", "best"):
        state = torch.load(tmp_path / "run/checkpoints" / f"{name}.ckpt", weights_only=True)
        assert state["epoch"] <= 1
        assert all(value.isfinite().all() for value in state["state_dict"].values())
    assert len(rows(tmp_path / "run" / "history.csv")) == 2


def test_a_trial_that_comes_apart_is_noted_as_failed_and_why(tmp_path: Path, toy: Path):
    words = ["-m", "study=seeds", "seed=0,1", *TOY, f"data.file={toy}"]
    rate = "stage.head.optimizer.lr=1e30"
    done = run_here("train", *words, rate, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "2 of 2 trials failed" in done.stderr
    for trial in ("0", "1"):
        told = (tmp_path / "runs/seeds" / trial / "error.txt").read_text()
        assert told.startswith("Stage head came apart in epoch 0")
        assert "Traceback" not in told


# --- its machine


def test_every_setting_of_the_machine_may_come_with_resume_and_no_other():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["data=embeddings", "split=file"])
    assert all(OmegaConf.select(cfg, key.rpartition(".")[0]) for key in machine.MACHINE)
    assert set(machine.given(cfg, [f"{key}=1" for key in machine.MACHINE])) == set(machine.MACHINE)
    for other in ("seed=1", "runtime.tta=true", "trainer.max_epochs=1", "data=embeddings"):
        with pytest.raises(UserError, match=f"'{other}'"):
            machine.given(cfg, ["resume=run", other, "runtime.threads=1"])


def test_a_run_goes_on_where_its_data_and_its_machine_are_now(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = begun(tmp_path, toy, monkeypatch)
    new = toy.rename(tmp_path / "it's here, (1) größe.npz")
    lost = resume(folder)
    assert_one_line(lost, "data.file", str(toy))
    moved = resume(
        folder, f"data.file={new}", "trainer.accelerator=cpu", "runtime.progress=false",
        "trainer.devices=1", "runtime.num_workers=0", "data.workers=1", "runtime.threads=1",
    )  # fmt: skip
    assert moved.returncode == 0, moved.stderr
    _, cfg = open_run(folder)
    assert cfg.data.file == str(new)
    assert cfg.trainer.accelerator == "auto"  # of that session alone
    again = run_here(
        "evaluate", f"run={folder}", "evaluate.explain=false", cache=tmp_path, cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr


def test_images_that_moved_are_found_by_what_the_message_says(
    finished: Path, cache: Path, tmp_path: Path
):
    folder = shutil.copytree(finished, tmp_path / "run")
    old, new = tmp_path / "old", shutil.copytree(painted(cache), tmp_path / "new place, [1]")
    cfg = OmegaConf.load(folder / "config.yaml")
    OmegaConf.update(cfg, "data.name", "folder")
    OmegaConf.update(cfg, "data.root", str(old))
    write_own(folder / "config.yaml", OmegaConf.to_yaml(cfg))
    RunDir(folder).finish()
    words = [f"run={folder}", "evaluate.explain=false", "runtime.progress=false"]
    lost = run_here("evaluate", *words, cache=cache, cwd=tmp_path)
    assert_one_line(lost, f"'{old}'", "data.root=", "part=")
    words += [f"data.root={new}", "part=test", f"data.cache_dir={cache}"]
    found = run_here("evaluate", *words, cache=cache, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    test = (folder / "evaluation/test/predictions.csv").read_text()
    assert test == (finished / "predictions/test.csv").read_text()
    (folder / "DONE").unlink()
    assert_one_line(resume(folder), f"data.root '{old}'", "set data.root")
    image = next((new / "Pro").iterdir())
    good = image.read_bytes()
    image.write_bytes(good[:-300])
    assert_one_line(resume(folder, f"data.root={new}"), f"Pro/{image.name}", "split.csv")
    image.write_bytes(good)
    assert resume(folder, f"data.root={new}").returncode == 0
    assert (folder / "predictions/test.csv").read_text() == test


@pytest.mark.slow
def test_a_study_goes_on_where_its_data_are_now(tmp_path: Path, toy: Path):
    words = ["-m", "study=seeds", "seed=0,1", *TOY]
    first = run_here(
        "train", *words, f"data.file={toy}", "study.fail_fast=true",
        "stage.head.optimizer.lr=0.01", cache=tmp_path, cwd=tmp_path,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    shutil.rmtree(tmp_path / "runs/seeds/1")
    shutil.rmtree(tmp_path / "runs/seeds/winner")
    with np.load(toy) as archive:
        np.savez(
            tmp_path / "other.npz", embeddings=archive["embeddings"] + 1, files=archive["files"]
        )
    toy.rename(tmp_path / "new.npz")
    other = run_here("train", *words, "data.file=other.npz", cache=tmp_path, cwd=tmp_path)
    assert_one_line(other, "'runs/seeds/0'", "sha256 is another")
    again = run_here(
        "train", *words, "data.file=new.npz", "runtime.progress=true", cache=tmp_path, cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "runs/seeds/winner/winner.json").is_file()


def test_a_run_of_a_gpu_is_used_on_a_cpu_with_a_note(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = tmp_path / "run"
    assert train(folder, toy).returncode == 0
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.trainer.precision, cfg.trainer.accelerator, cfg.trainer.devices = "16-mixed", "cuda", [3]
    write_own(folder / "config.yaml", OmegaConf.to_yaml(cfg))
    RunDir(folder).finish()
    words = [f"run={folder}", "evaluate.explain=false"]
    done = run_here("evaluate", *words, cache=tmp_path, cwd=tmp_path)
    assert_one_line(done, "trainer.precision=16-mixed", "computed on cpu in", status=0)
    done = run_here("evaluate", *words, "trainer.precision=32-true", cache=tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    asked = run_here("evaluate", *words, "trainer.precision=16-mixed", cache=tmp_path, cwd=tmp_path)
    assert_one_line(asked, "trainer.precision=bf16-mixed")
    (folder / "DONE").unlink()
    assert_one_line(resume(folder), "trainer.accelerator=cpu")
    given = ["trainer.accelerator=cpu"]
    assert_one_line(resume(folder, *given), "use trainer.devices=1")
    given.append("trainer.devices=1")
    assert_one_line(resume(folder, *given), "trainer.precision=bf16-mixed")
    assert resume(folder, *given, "trainer.precision=32-true").returncode == 0
    assert open_run(folder)[1].trainer.precision == "32-true"


def test_what_a_machine_lacks_of_a_run_is_replaced_and_what_is_asked_for_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trainer = {"precision": "16-mixed", "accelerator": "cuda", "devices": [2]}
    own = OmegaConf.create({"trainer": trainer, "runtime": {}})
    here = on_this_machine(own, {}).trainer
    assert (here.precision, here.accelerator, here.devices) == ("auto", "auto", 1)
    told = capsys.readouterr().err
    assert "trainer.accelerator=cuda and trainer.precision=16-mixed" in told
    with pytest.raises(UserError, match=r"use trainer\.accelerator=cpu"):
        on_this_machine(own, {"accelerator": "gpu"})
    assert on_this_machine(own, {"accelerator": "cpu", "precision": "32-true"}).trainer
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verb", ["evaluate", "predict", "explain"])
def test_every_verb_that_opens_a_run_takes_the_settings_of_the_machine(verb: str):
    keys = ["accelerator", "precision", "threads", "progress"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(verb)
        assert set(keys) <= {*cfg.trainer, *cfg.runtime}


# --- loader processes


def test_loader_processes_are_not_started_where_shared_memory_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pixels = np.zeros((2000, 224, 224, 3), np.uint8)
    for free, expected in ((64 * 2**20, 0), (2**30, 4)):
        monkeypatch.setattr(memory.shutil, "disk_usage", lambda _, f=free: (f, 0, f) and Usage(f))
        data = ArrayDataModule(pixels, num_workers=4, eval_batch_size=2)
        memory.fit_workers(data, batch_size=128)
        assert data.num_workers == expected
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "runtime.num_workers=4 would take" in told
    assert "/dev/shm has 64 MB free" in told


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


class Dying(Dataset[torch.Tensor]):
    """Kills the loader process that asks for the second item."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, item: int) -> torch.Tensor:
        if item == 1 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)


def test_a_loader_process_that_dies_ends_in_one_line():
    with (
        pytest.raises(UserError, match=r"loader process was lost.*runtime\.num_workers=0"),
        interruptible(),
    ):
        list(DataLoader(Dying(), num_workers=1))


def test_a_loader_process_is_not_waited_for_for_ever():
    data = ArrayDataModule(
        np.zeros((8, 4), np.float32), np.zeros(8, np.int64), {"val": np.arange(8)}, num_workers=2
    )
    assert 0 < data.loader("val").timeout <= 600
    data.num_workers = 0
    assert data.loader("val").timeout == 0


# --- disks


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "does not answer"),
    ],
)
def test_a_fault_of_the_disk_is_one_line_with_folder_and_remedy(number: int, told: str):
    with pytest.raises(UserError) as caught, disk.reported(Path("/a/run"), lambda: "go on"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith("'/a/run' cannot be used: ")
    assert told in str(caught.value)
    assert str(caught.value).endswith(", then go on.")


def behind(cause: OSError, error: Exception) -> None:
    with disk.reported():
        try:
            raise cause
        except OSError:
            raise error  # noqa: B904 - as torch does


def test_a_full_disk_behind_a_library_s_error_is_found_and_another_bug_is_not():
    full = OSError(errno.ENOSPC, "No space left on device", "/x/best.ckpt")
    with pytest.raises(UserError, match=r"'/x/best\.ckpt'.*the disk is full"):
        behind(full, RuntimeError("unexpected pos 64 vs 0"))
    with pytest.raises(KeyError):
        behind(FileNotFoundError(errno.ENOENT, "No such file", "/x"), KeyError("bug"))


def full_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Let the disk be full after so many files."""
    left, sync = [writes], os.fsync

    def fsync(number: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(number)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    "writes",
    [0, 1, 4, 15, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 6, 9, 12, 20))],
)
def test_a_disk_that_fills_up_loses_nothing(
    writes: int, tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        full_after(patched, writes)
        done = train(folder, toy)
    assert_one_line(done, "the disk is full", str(folder))
    assert not (folder / "DONE").exists()
    assert not [p for p in folder.rglob("*") if p.suffix in (".tmp", ".partial")]
    if (folder / "config.yaml").exists():
        assert f"go on with resume={folder}" in done.stderr
        assert resume(folder).returncode == 0
    else:
        assert train(folder, toy).returncode == 0
    assert (folder / "DONE").is_file()


def test_a_study_on_a_full_disk_ends_in_lines(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["-m", "study=seeds", "seed=0,1", *TOY, f"data.file={toy}"]
    for writes in (0, 7):
        with monkeypatch.context() as patched:
            full_after(patched, writes)
            done = run_here("train", *words, cache=tmp_path, cwd=tmp_path)
        assert done.returncode == 2
        assert "the disk is full" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("verb", ["evaluate", "predict", "explain", "audit"])
def test_a_folder_that_cannot_be_written_is_refused_before_work(
    verb: str, finished: Path, smears: Path, cache: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    run, output = [f"run={finished}"], f"output={tmp_path / 'new'}"
    words = {
        "evaluate": [*run, output],
        "predict": [*run, f"input={smears}", f"output={tmp_path / 'new' / 'a.csv'}"],
        "explain": [*run, f"input={smears}", output],
        "audit": ["data=folder", f"data.root={smears}", output],
    }
    began = time.monotonic()
    done = run_here(verb, *words[verb], cache=cache, cwd=tmp_path)
    assert_one_line(done, f"'{tmp_path / 'new'}' cannot be written: the disk is read-only")
    assert time.monotonic() - began < 30
    assert not (tmp_path / "new").exists()


ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="mounting takes root",
)


def mounted(script: str, folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run lines of shell where mounts are nobody else's."""
    folder.mkdir(exist_ok=True)
    lines = f"set -u\n{script}"
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", lines],
        cwd=folder, env=environment(cache), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if "unshare failed" in done.stderr:
        pytest.skip("no mounts of one's own here")
    return done


@ROOT
@pytest.mark.slow
def test_disks_that_are_full_or_read_only(tmp_path: Path, toy: Path):
    ok = tmp_path / "ok"
    assert train(ok, toy).returncode == 0
    new = " ".join([*TOY, f"data.file={toy}"])
    there = tmp_path / "there"
    there.mkdir()
    python = f"{sys.executable} -m leukemia"
    script = f"""
        mount -t tmpfs -o size=150k tmpfs {there}
        {python}.train {new} hydra.run.dir={there}/r >/dev/null; echo fills up $?
        test -e {there}/r/DONE && echo DONE
        mount -o remount,size=20m {there}
        {python}.train resume={there}/r >/dev/null; echo resumed $?
        dd if=/dev/zero of={there}/fill bs=1k 2>/dev/null
        {python}.evaluate run={there}/r >/dev/null; echo evaluate $?
        rm {there}/r/DONE; dd if=/dev/zero of={there}/fill2 bs=1k 2>/dev/null
        {python}.train resume={there}/r >/dev/null; echo resume $?
        mount -o remount,ro {there}
        {python}.train resume={there}/r >/dev/null; echo resume $?
        {python}.train {new} hydra.run.dir={there}/new >/dev/null; echo train $?
        cd {there}
        {python}.train {new} >/dev/null; echo train $?
        {python}.train -m study=seeds {new} >/dev/null; echo study $?
        {python}.audit data=synthetic data.per_class=20 >/dev/null; echo audit $?
    """
    done = mounted(script.replace("; echo", " 2>> ../errors; echo"), tmp_path / "work", tmp_path)
    found = done.stdout.split("\n")[:-1]
    assert found == [
        *("fills up 2", "resumed 0", "evaluate 2", "resume 2", "resume 2"),
        *("train 2", "train 2", "study 2", "audit 2"),
    ]
    told = (tmp_path / "errors").read_text().splitlines()
    assert len(told) == 8, told
    assert [("the disk is full" in line, "the disk is read-only" in line) for line in told] == [
        *[(True, False)] * 3,
        *[(False, True)] * 5,
    ]


@ROOT
@pytest.mark.slow
def test_small_shared_memory_is_no_trap(tmp_path: Path, cache: Path):
    words = [*SMALL, "stages=[finetune]", "runtime.num_workers=4", "report.map=null"]
    words += ["stage.finetune.epochs=2", "stage.finetune.batch_size=32"]
    line = " ".join(f"'{word}'" for word in [*command("train", *words), "hydra.run.dir=run"])
    done = mounted(f"mount -t tmpfs -o size=300k tmpfs /dev/shm\n{line}", tmp_path, cache)
    assert done.returncode == 0, done.stderr
    assert "images are loaded in this process" in done.stderr
    assert (tmp_path / "run/DONE").is_file()


# --- what it prints, and how it is stopped


def test_a_log_holds_plain_lines_alone(tmp_path: Path, toy: Path):
    done = train(tmp_path / "run", toy, "runtime.progress=true")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\r" not in done.stdout
    assert "%|" not in done.stdout


def test_there_is_one_kind_of_bar():
    for progress in (True, False):
        trainer: L.Trainer = make_trainer(Hardware(progress=progress))
        assert trainer.progress_bar_callback is None
        assert sum(isinstance(one, Bar) for one in trainer.callbacks) == progress
        assert not any(isinstance(one, ProgressBar) for one in trainer.callbacks)


@pytest.mark.parametrize(
    ("number", "word", "status"),
    [
        (signal.SIGTERM, "terminated", 143),
        pytest.param(signal.SIGINT, "interrupted", 130, marks=pytest.mark.slow),
    ],
)
def test_a_training_that_is_stopped_says_how_to_go_on(
    number: int, word: str, status: int, tmp_path: Path, toy: Path
):
    folder = tmp_path / "run"
    words = [*TOY, f"data.file={toy}", f"hydra.run.dir={folder}", "stage.head.epochs=100000"]
    process = subprocess.Popen(
        command("train", *words),
        cwd=tmp_path, env=environment(tmp_path), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        # What a shell starts in the background ignores Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while epochs_of(folder, "head") < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert told == f"leukemia: {word}: go on with resume={folder}\n"
    assert process.returncode == status
    assert not (folder / "DONE").exists()
