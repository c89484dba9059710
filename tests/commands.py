"""Runs the commands as a user does: in a process of their own, or sooner in this one."""

import contextlib
import csv
import importlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from hydra._internal.hydra import Hydra
from PIL import Image

from leukemia.__main__ import module_of
from leukemia.report.curves import write_history
from leukemia.runs.directory import NEEDED, RunDir

_DOT = io.BytesIO()
Image.new("RGB", (1, 1)).save(_DOT, "png")

CLASSES = ["Benign", "Early", "Pre", "Pro"]
QUIET = "runtime.progress=false"

# A training of seconds over both stages, on painted smears: the network has 0.3 million weights
# where ResNet18 has 11, and batch normalisation like it.
SMALL = [
    "data=synthetic",
    "data.per_class=20",
    "experiment=finetuned",
    "mask=none",
    "model.backbone.name=shufflenet_v2_x0_5",
    "crop.size=64",
    "model.backbone.weights=null",
    "stages=[head,finetune]",
    "decisions.folds=0",
    "stage.head.epochs=8",
    "stage.head.batch_size=8",
    "stage.finetune.epochs=4",
    "stage.finetune.batch_size=8",
    QUIET,
    "runtime.threads=1",
    "runtime.save_every=0",
]


def painted(cache: Path) -> Path:
    """The folder of smears that `SMALL` trains on."""
    return next(path for path in cache.iterdir() if path.name.startswith("synthetic-20-"))


def write_toy(path: Path, per_class: int = 40) -> None:
    """Write embeddings of four overlapping classes, as `data=embeddings` reads them."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(4, 8)), per_class, axis=0)
    files = [f"{name}/{name}-{i:03d}.jpg" for name in CLASSES for i in range(per_class)]
    values = (centres + rng.normal(size=centres.shape)).astype(np.float32)
    np.savez(path, embeddings=values, files=np.array(files))


def command(verb: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", f"leukemia.{verb}", *overrides]


def environment(cache: Path, **changes: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "LEUKEMIA_DATA" and not name.startswith("WANDB_")
    }
    return {**kept, "LEUKEMIA_CACHE": str(cache), "COLUMNS": "100", **changes}


def run(
    verb: str, *overrides: str, cache: Path, cwd: Path, **changes: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(verb, *overrides),
        cwd=cwd,
        env=environment(cache, **changes),
        capture_output=True,
        text=True,
        timeout=300,
    )


def kill_when(
    ready: Callable[[], bool], verb: str, *overrides: str, cache: Path, cwd: Path, **changes: str
) -> None:
    """Start a command in a process of its own, and kill it at once when `ready` says so."""
    process = subprocess.Popen(
        command(verb, *overrides),
        cwd=cwd,
        env=environment(cache, **changes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not ready():
        assert process.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()


class Stopped(BaseException):
    """What ends a training of this process as soon as a kill would: nothing catches it."""


def stop_when(
    ready: Callable[[], bool], verb: str, *overrides: str, cache: Path, cwd: Path, **changes: str
) -> None:
    """As `kill_when`, in this process: stopped where an epoch has been written down."""

    def written(path: Path, rows: list[dict[str, object]]) -> None:
        write_history(path, rows)
        if ready():
            raise Stopped

    with (
        mock.patch("leukemia.runs.stages.write_history", written),
        contextlib.suppress(Stopped),
    ):
        done = run_here(verb, *overrides, cache=cache, cwd=cwd, **changes)
        raise AssertionError(f"the command ended before it was stopped: {done.stderr}")


def epochs_of(run: Path, stage: str) -> int:
    """How many epochs of a stage a run has written down, 0 where it has not begun to."""
    history = run / "history.csv"
    return sum(r["stage"] == stage for r in rows(history)) if history.is_file() else 0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def probabilities(row: dict[str, str]) -> list[float]:
    """Those of the four classes, from a row of predictions."""
    return [float(row[f"p_{name}"]) for name in CLASSES]


def run_here(
    verb: str, *overrides: str, cache: Path, cwd: Path, **changes: str
) -> subprocess.CompletedProcess[str]:
    """As `run`, without the seconds that a new process takes to import torch, or pages to draw.

    The figures inside a page are made but not drawn: all of them by matplotlib take as long as
    the training of seconds before. `run` draws them, and the tests of `leukemia.report`.

    Hydra composes every config twice, first to see whether its own `hydra.mode` says what a
    command without -m is, and forgives all errors there: only a study has that.
    """
    study = any(word.startswith(("study=", "+study=")) for word in overrides)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment(cache, **changes), clear=True),
        mock.patch.object(sys, "argv", [f"leukemia.{verb}", *overrides]),
        mock.patch("leukemia.report.page.render", return_value=_DOT.getvalue()),
        contextlib.nullcontext()
        if study
        else mock.patch.object(Hydra, "get_mode", return_value=None),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            importlib.import_module(module_of(verb)).main()
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(overrides, status, out.getvalue(), err.getvalue())


def seal(run: Path) -> Path:
    """Finish a run directory anew, as it is now; what it lacks is there, and empty."""
    for name in NEEDED:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    RunDir(run).finish()
    return run
