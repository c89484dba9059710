"""What makes a training faster must not change what it finds."""

import csv
from pathlib import Path

import numpy as np
import pytest

from leukemia.errors import UserError
from leukemia.training.hardware import SWITCH, resolve_precision
from tests.commands import SMALL, run_here


def rows(out: Path, file: str, cache: Path, *settings: str) -> list[dict[str, str]]:
    """Train, and read a table that the run leaves."""
    words = ["runtime.progress=false", "runtime.threads=1", "open_test=false"]
    done = run_here("train", *words, *settings, f"hydra.run.dir={out}", cache=cache, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    with (out / file).open(newline="") as table:
        return list(csv.DictReader(table))


def accuracy(out: Path, cache: Path, *settings: str) -> float:
    found = rows(out, "predictions/val.csv", cache, *settings)
    return float(np.mean([row["label"] == row["prediction"] for row in found]))


@pytest.mark.parametrize(
    "head",
    [
        ["head=probe"],
        pytest.param(
            [
                *("head=residual", "model.head.standardize=true", "stage.head.epochs=30"),
                *("stage.head.optimizer.lr=0.003", "trainer.max_epochs=12"),
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["probe", "residual"],
)
def test_bfloat16_learns_what_float32_does(
    head: list[str], published: Path, cache: Path, tmp_path: Path
):
    data = ["data=embeddings", f"data.file={published / 'resnet18_embeddings.npz'}"]
    settings = [*data, "trainer.max_epochs=6", *head]
    half = accuracy(tmp_path / "half", cache, *settings, "trainer.precision=bf16-mixed")
    full = accuracy(tmp_path / "full", cache, *settings, "trainer.precision=32-true")
    assert full > 0.9
    assert half == pytest.approx(full, abs=0.01)


@pytest.fixture(scope="module")
def plain(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The history of a short fine-tuning with the defaults."""
    return rows(tmp_path_factory.mktemp("plain") / "run", "history.csv", cache, *FINETUNE)


FINETUNE = [
    *SMALL,
    "stages=[finetune]",
    "stage.finetune.epochs=2",
    "trainer.precision=32-true",
]


@pytest.mark.parametrize(
    ("setting", "tolerance"),
    [
        ("runtime.num_workers=2", 0.0),
        ("runtime.eval_batch_size=3", 1e-4),
    ],
)
def test_an_option_for_speed_leaves_the_losses_alone(
    setting: str,
    tolerance: float,
    plain: list[dict[str, str]],
    cache: Path,
    tmp_path: Path,
):
    found = rows(tmp_path / "run", "history.csv", cache, *FINETUNE, setting)
    for name in ("train_loss", "val_nll"):
        expected = [float(row[name]) for row in plain]
        assert [float(row[name]) for row in found] == pytest.approx(expected, rel=tolerance, abs=0)


@pytest.mark.slow
def test_the_order_of_channels_in_memory_changes_a_step_by_rounding_alone(
    cache: Path, tmp_path: Path
):
    # One step: what later ones make of a rounding is no property of the order.
    step = [*FINETUNE, "stage.finetune.epochs=1", "trainer.limit_train_batches=1"]
    last = rows(tmp_path / "last", "history.csv", cache, *step)
    first = rows(tmp_path / "first", "history.csv", cache, *step, "runtime.channels_last=false")
    for name in ("train_loss", "val_nll"):
        assert float(first[0][name]) == pytest.approx(float(last[0][name]), rel=1e-4)


def test_one_switch_says_what_auto_means_and_a_setting_comes_before_it(monkeypatch):
    for wanted, other in (("32-true", "bf16-mixed"), ("bf16-mixed", "32-true")):
        monkeypatch.setenv(SWITCH, wanted)
        assert resolve_precision("auto", "cpu") == wanted
        assert resolve_precision(other, "cpu") == other
    for none in ("", "auto"):
        monkeypatch.setenv(SWITCH, none)
        assert resolve_precision("auto", "cpu") in ("32-true", "bf16-mixed")


@pytest.mark.parametrize("value", ["8", "16-mixed"])
def test_a_switch_that_cannot_be_is_named(value, monkeypatch):
    monkeypatch.setenv(SWITCH, value)
    with pytest.raises(UserError, match=SWITCH):
        resolve_precision("auto", "cpu")
