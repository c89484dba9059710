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
