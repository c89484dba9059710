"""Decisions are fitted on predictions that were not learnt."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.measure.calibration import fit_calibration
from leukemia.measure.predictions import read_predictions
from tests.commands import CLASSES, QUIET, rows, run_here

PER_CLASS = 20


def trained(folder: Path, values: np.ndarray, *words: str) -> Path:
    """A run on embeddings, one row an image, which a discriminant can learn by heart."""
    files = [f"{name}/{name}-{i:03d}.jpg" for name in CLASSES for i in range(PER_CLASS)]
    np.savez(folder / "e.npz", embeddings=values.astype(np.float32), files=files)
    settings = ["data=embeddings", "data.file=e.npz", "split=stratified", QUIET, "report.map=null"]
    settings += [*words, f"hydra.run.dir={folder / 'run'}"]
    done = run_here("train", *settings, cache=folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def by_heart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of 300 numbers: a head that saw an image knows it, another one can only guess."""
    values = np.random.default_rng(0).normal(size=(4 * PER_CLASS, 300))
    return trained(tmp_path_factory.mktemp("noise"), values, "head=discriminant")


def accuracy(table: list[dict[str, str]]) -> float:
    return float(np.mean([row["label"] == row["prediction"] for row in table]))


def test_each_image_of_training_and_validation_is_judged_once_and_none_of_test(by_heart: Path):
    with (by_heart / "split.csv").open(newline="") as file:
        parts = {row["file"]: row["part"] for row in csv.DictReader(file)}
    held = [row["file"] for row in rows(by_heart / "predictions" / "held_out.csv")]
    assert sorted(held) == sorted(name for name, part in parts.items() if part != "test")


def test_no_head_judges_what_it_learnt(by_heart: Path):
    # Were one image in its own head's training, noise would be told apart.
    assert accuracy(rows(by_heart / "predictions" / "held_out.csv")) < 0.45


def test_the_calibration_is_that_of_the_held_out_predictions(by_heart: Path):
    stored = json.loads((by_heart / "calibration.json").read_text())
    table = read_predictions(by_heart / "predictions" / "held_out.csv", Classes(CLASSES, "Benign"))
    expected = fit_calibration(table, part="held_out")
    assert stored["part"] == "held_out"
    assert stored["n"] == len(table.files)
    for name in ("temperature", "threshold", "confidence"):
        assert stored[name] == pytest.approx(getattr(expected, name), rel=1e-12)


def test_a_group_is_held_out_whole(tmp_path: Path):
    # Pairs that are one point: with its twin in training, the half of it that is held out is known.
    values = np.repeat(np.random.default_rng(0).normal(size=(2 * PER_CLASS, 300)), 2, axis=0)
    names = [f"{name}/{name}-{i:03d}.jpg" for name in CLASSES for i in range(PER_CLASS)]
    lines = [f"{name},{number // 2}" for number, name in enumerate(names)]
    (tmp_path / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    grouped = ["head=discriminant", f"data.groups={tmp_path / 'groups.csv'}", "split=grouped"]
    run = trained(tmp_path, values, *grouped)
    assert accuracy(rows(run / "predictions" / "held_out.csv")) < 0.5


def test_without_folds_validation_decides(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=(4 * PER_CLASS, 8))
    run = trained(tmp_path, values, "head=discriminant", "decisions.folds=0")
    assert json.loads((run / "calibration.json").read_text())["part"] == "val"
    assert not (run / "predictions" / "held_out.csv").exists()
