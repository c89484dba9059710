"""What the W&B tracker does with what it is told."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from leukemia.classes import Classes
from leukemia.errors import Pruned, UserError
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions
from leukemia.report.curves import write_history
from leukemia.runs.directory import RunDir
from leukemia.tracking import wandb as tracking
from leukemia.tracking.loggers import check_loggers, make_trackers
from tests.commands import environment
from tests.tracking.conftest import Network
from tests.tracking.process import rows, settings
from tests.tracking.wandb_files import WandbRun, read_only_part


def finish(folder: Path, epochs: int = 3, **logger: object) -> WandbRun:
    with make_trackers(settings(**logger), RunDir(folder)) as trackers:
        trackers.log(rows(epochs))
    return read_only_part(folder)


def test_an_epoch_is_logged_once_however_often_it_is_told(here: Path):
    with make_trackers(settings(), RunDir(here / "run")) as trackers:
        for n in (1, 2, 2, 1, 3):
            trackers.log(rows(n))
    assert [row["curves/epoch"] for row in read_only_part(here / "run").rows] == [1, 2, 3]


def test_runs_of_one_process_are_runs_of_their_own_and_a_study_is_their_group(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    found = [finish(here / "grid" / name, n) for name, n in (("0", 1), ("1", 2))]
    assert [part.run.run_group for part in found] == ["grid", "grid"]
    assert [part.run.display_name for part in found] == ["grid/0", "grid/1"]
    assert [len(part.rows) for part in found] == [1, 2]
    assert found[0].run.run_id != found[1].run.run_id
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"W&B: offline; send it later with: wandb sync {here}/grid/*/wandb/offline-run-*"
    ]


def test_a_study_or_a_group_that_is_named_is_the_group(here: Path):
    cfg = OmegaConf.merge(settings(), {"study": {"name": "lambda_grid"}})
    with make_trackers(cfg, RunDir(here / "sweep" / "a")):
        pass
    assert read_only_part(here / "sweep" / "a").run.run_group == "lambda_grid"
    assert finish(here / "alone").run.run_group == ""
    assert finish(here / "other", group="mine").run.run_group == "mine"


def test_a_run_that_fails_is_closed_as_failed(here: Path):
    def fail() -> None:
        with make_trackers(settings(), RunDir(here / "run")) as trackers:
            trackers.log(rows(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    part = read_only_part(here / "run")
    assert part.exit_code == 1
    assert len(part.rows) == 2
    assert tracking.wandb.run is None


def test_what_ends_a_run_while_it_is_told_its_history_closes_it(here: Path, monkeypatch):
    def prune(self: tracking.WandbTracker, history: object) -> None:
        raise Pruned("others were better")

    write_history(RunDir(here / "run").history, rows(2))
    monkeypatch.setattr(tracking.WandbTracker, "log", prune)
    with pytest.raises(Pruned):
        make_trackers(settings(), RunDir(here / "run"))
    assert tracking.wandb.run is None


def test_the_worst_mistakes_are_missed_cancers_and_then_the_most_confident(here: Path):
    right, unsure, sure = 0.97, 0.4, 0.9
    table = Predictions(
        files=("ok.jpg", "late.jpg", "early.jpg", "missed.jpg", "missed-surely.jpg"),
        labels=np.array([0, 3, 0, 1, 2]),
        probabilities=np.array(
            [
                [right, 0.01, 0.01, 0.01],
                [0.2, unsure, 0.2, 0.2],
                [0.1, sure, 0, 0],
                [unsure, 0.2, 0.2, 0.2],
                [sure, 0.1, 0, 0],
            ]
        ),
        classes=Classes(),
    )
    pixels = np.zeros((6, 400, 300, 3), np.uint8)
    pixels[5] = 200  # the last row of the part is the last image
    data = SimpleNamespace(array=pixels, parts={"val": np.arange(1, 6)}, embed_dim=None)
    with make_trackers(settings(mistakes=3), RunDir(here / "run")) as trackers:
        trackers.conclude({"val": summarize(table)}, {"val": table}, data)
    part = read_only_part(here / "run")
    columns, found = part.table("val/mistakes")
    names = ["file", "label", "prediction", "p_cancer", "p_Benign", "p_Early", "p_Pre", "p_Pro"]
    assert columns == ["image", *names]
    assert [row[1:4] for row in found] == [
        ["missed-surely.jpg", "Pre", "Benign"],
        ["missed.jpg", "Early", "Benign"],
        ["early.jpg", "Benign", "Early"],
    ]
    assert found[0][4:] == pytest.approx([0.1, 0.9, 0.1, 0, 0])
    seen = [Image.open(path) for path in part.images()]
    assert {image.size for image in seen} == {(192, 256)}
    assert sorted({round(np.asarray(image).mean()) for image in seen}) == [0, 200]
    assert "WANDB_DATA_DIR" not in os.environ


def test_embeddings_have_mistakes_without_images(here: Path):
    table = Predictions(("a", "b"), np.array([0, 1]), np.full((2, 4), 0.25), Classes())
    data = SimpleNamespace(array=np.zeros((2, 8), np.float32), parts={}, embed_dim=8)
    with make_trackers(settings(), RunDir(here / "run")) as trackers:
        trackers.conclude({"val": summarize(table)}, {"val": table}, data)
    columns, found = read_only_part(here / "run").table("val/mistakes")
    assert columns[0] == "file"
    assert [row[:3] for row in found] == [["b", "Early", "Benign"]]


@pytest.mark.parametrize("mode", ["disabled", "offline", "dryrun"])
def test_wandb_mode_is_respected(mode: str, here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)  # logged in
    with make_trackers(settings(), RunDir(here / "run")) as trackers:
        trackers.log(rows(2))
    if mode == "disabled":
        assert not (here / "run").exists()
    else:
        assert len(read_only_part(here / "run").rows) == 2


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"WANDB_MODE": "sometimes"}, "'sometimes'"),
        ({"WANDB_MODE": "online"}, "wandb login"),
        ({"WANDB_API_KEY": "short"}, "API key"),
    ],
)
def test_what_wandb_cannot_do_is_one_line_before_anything_is_computed(
    variables: dict[str, str], told: str, here: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=told) as error:
        check_loggers(settings())
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_on_a_terminal_nothing_is_asked_and_nothing_hangs(network: Network, tmp_path: Path):
    master, slave = pty.openpty()
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracking.process", str(tmp_path / "run"), "3", "interrupt"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(tmp_path, **network.changes),
        timeout=120,
    )
    os.close(slave)
    said = b"".join(_drain(master)).decode()
    assert done.returncode in (1, 130, -signal.SIGINT)
    assert "Enter your choice" not in said
    assert "W&B: offline" in said
    assert time.monotonic() - started < 100
    assert len(read_only_part(tmp_path / "run").rows) == 3


def _drain(master: int) -> Iterator[bytes]:
    with os.fdopen(master, "rb", buffering=0) as terminal:
        while True:
            try:
                if not (read := terminal.read(4096)):
                    return
            except OSError:  # how Linux says that the other end is closed
                return
            yield read


@pytest.mark.slow
def test_a_login_without_a_server_goes_offline_and_loses_nothing(network: Network, tmp_path: Path):
    network.touched()
    code = (
        "from pathlib import Path; from leukemia.tracking import wandb\n"
        "from tests.tracking import process\n"
        f"wandb._CONNECT = 2; process.main(Path({str(tmp_path / 'run')!r}), 3, 'end')"
    )
    login = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://wandb.invalid"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path, **network.changes, **login),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "so offline" in done.stdout
    assert len(read_only_part(tmp_path / "run").rows) == 3
    assert network.touched()  # so the watch that sees nothing elsewhere does see W&B
