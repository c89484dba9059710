"""The flags of Lightning's Trainer act: `trainer.<flag>`, each seen from inside of a fit."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import QUIET, run_here, write_toy

OUTSIDE = Path(__file__).parent / "outside"
EPOCHS, BATCHES = 4, 6  # 96 training rows by 16
FLAGS: dict[str, dict[str, Any]] = {
    "trainer.max_epochs=2": {"epochs": 2, "steps": 2 * BATCHES},
    "trainer.accumulate_grad_batches=3": {"steps": EPOCHS * BATCHES // 3},
    "trainer.limit_train_batches=2": {"steps": EPOCHS * 2},
    "trainer.limit_train_batches=0.5": {"steps": EPOCHS * BATCHES // 2},
    "trainer.max_steps=5": {"steps": 5},
    "trainer.fast_dev_run=true": {"steps": 1, "epochs": 1},
    "trainer.num_sanity_val_steps=1": {"sane": 1},
    "trainer.val_check_interval=0.5": {"validated": 2 * EPOCHS},
    "trainer.detect_anomaly=true": {"anomaly": True},
    "trainer.profiler=simple": {"profiler": "SimpleProfiler"},
    "trainer.gradient_clip_val=1.0e-12": {"moved": 0},
    "trainer.log_every_n_steps=3": {"logged_every": 3},
}
PLAIN = {
    **{"steps": EPOCHS * BATCHES, "epochs": EPOCHS, "validated": EPOCHS, "sane": 0},
    **{"anomaly": False, "profiler": "PassThroughProfiler", "logged_every": 50},
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.npz"
    write_toy(path)
    return path


def seen(toy: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(OUTSIDE))
    done = run_here(
        "train",
        *("data=embeddings", f"data.file={toy}", "split=stratified", "head=linear"),
        *(f"stage.head.epochs={EPOCHS}", "stage.head.batch_size=16", "loss.lambda_bce=0"),
        *("optimizer@stage.head.optimizer=sgd", "stage.head.optimizer.weight_decay=0"),
        *("+callbacks.seen={_target_: mine.Seen, path: seen.json}", "report.map=null"),
        *("hydra.run.dir=run", QUIET, *flags),
        cache=cwd,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    assert (cwd / "run" / "DONE").is_file()
    return json.loads((cwd / "seen.json").read_text())


def test_without_flags(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = seen(toy, tmp_path, monkeypatch)
    assert {key: found[key] for key in PLAIN} == PLAIN
    assert found["moved"] > 0.01


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_acts(flag: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = seen(toy, tmp_path, monkeypatch, flag)
    for key, value in FLAGS[flag].items():
        assert found[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trainer.gradient_clip=1", "Did you mean trainer.gradient_clip_val"),
        ("+trainer.gradient_clip=1", "Did you mean trainer.gradient_clip_val"),
        ("trainer.tta=true", "Did you mean runtime.tta"),
        ("trainer.progress=false", "Did you mean runtime.progress"),
        ("+trainer.callbacks=[]", "callbacks=<name>"),
        ("+trainer.overfit_batches=1", "trainer.limit_train_batches=<number>"),
        ("+trainer.logger=false", "logger=<name>"),
        ("+trainer.limit_predict_batches=1", "trainer.limit_predict_batches"),
        ("trainer.gradient_clip_val=wide", "trainer.gradient_clip_val"),
    ],
)
def test_a_flag_that_is_none_is_refused_with_the_right_name(typed: str, told: str, tmp_path: Path):
    done = run_here("train", "data=synthetic", typed, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
