"""What makes a training faster must not change what it finds."""

import csv
from pathlib import Path

import numpy as np
import pytest

from leukemia.model.hardware import resolve_precision
from tests.commands import run_here


def accuracy(out: Path, cache: Path, *settings: str) -> float:
    words = ["trainer.progress=false", "trainer.threads=1", "open_test=false"]
    done = run_here("train", *words, *settings, f"hydra.run.dir={out}", cache=cache, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return accuracy_of(out)


def accuracy_of(out: Path) -> float:
    with (out / "predictions" / "val.csv").open(newline="") as file:
        return float(np.mean([row["label"] == row["prediction"] for row in csv.DictReader(file)]))


@pytest.mark.skipif(
    resolve_precision("auto", "cpu") == "32-true", reason="float32 is the default here"
)
@pytest.mark.parametrize(
    "head",
    [
        ["head=probe"],
        pytest.param(
            [
                *("head=residual", "model.head.standardize=true", "stage.head.epochs=30"),
                "stage.head.optimizer.lr=0.003",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["probe", "residual"],
)
def test_the_default_precision_learns_what_float32_does(
    head: list[str], published: Path, cache: Path, tmp_path: Path
):
    data = ["data=embeddings", f"data.file={published / 'resnet18_embeddings.npz'}"]
    settings = [*data, "stages=[head]", *head]
    half = accuracy(tmp_path / "half", cache, *settings)
    full = accuracy(tmp_path / "full", cache, *settings, "trainer.precision=32-true")
    assert full > 0.9
    assert half == pytest.approx(full, abs=0.01)


@pytest.mark.slow
def test_workers_and_memory_format_do_not_change_what_a_training_finds(
    aria: Path, cache: Path, tmp_path: Path
):
    words = [
        *("study=seeds", "seed=0", "model=baseline", "crop.size=64", "stage.finetune.epochs=5"),
        *("trainer.num_workers=0,2", "trainer.channels_last=true,false", f"data.root={aria}"),
    ]
    done = run_here("train", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / "runs" / "seeds" / str(number) for number in range(4)]
    tables = [(folder / "predictions" / "val.csv").read_text() for folder in folders]
    assert tables[0] == tables[2]  # read in place, or by two workers
    assert tables[1] == tables[3]
    channels_last, plain = (accuracy_of(folder) for folder in folders[:2])
    assert channels_last > 0.6
    assert plain == pytest.approx(channels_last, abs=0.01)
