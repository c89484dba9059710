"""A study over folds from outside: `python -m leukemia.train study=kfold`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.predictions import Predictions, read_predictions
from leukemia.study.trials import pool
from tests.commands import run_here, write_toy

ALL = Classes()
FOLDS = [
    "study=kfold",
    "data=embeddings",
    "head=linear",
    "stage.head.epochs=4",
    "stage.head.batch_size=16",
    "split.folds=3",
    "split.fold=0,1,2",
]
PER_CLASS = 21


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to run in, with embeddings of four overlapping classes."""
    folder = tmp_path_factory.mktemp("folds")
    write_toy(folder / "toy.npz", PER_CLASS)
    return folder


def kfold(home: Path, *overrides: str):
    file = f"data.file={home / 'toy.npz'}"
    return run_here("train", *FOLDS, file, *overrides, cache=home, cwd=home)


@pytest.fixture(scope="module")
def pooled(home: Path) -> Path:
    done = kfold(home)
    assert done.returncode == 0, done.stderr
    assert f"{4 * PER_CLASS} images in 3 folds, each predicted once" in done.stdout
    return home / "runs" / "kfold"


def test_every_image_is_predicted_once_by_the_run_that_held_it_out(pooled: Path):
    table = read_predictions(pooled / "predictions" / "pooled.csv", ALL)
    assert len(table.files) == 4 * PER_CLASS == len(set(table.files))
    place = {file: i for i, file in enumerate(table.files)}
    for trial in "012":
        with (pooled / trial / "split.csv").open(newline="") as file:
            held = [row["file"] for row in csv.DictReader(file) if row["part"] == "test"]
        fold = read_predictions(pooled / "predictions" / f"fold_{trial}.csv", ALL)
        assert sorted(fold.files) == sorted(held)
        rows = [place[name] for name in fold.files]
        np.testing.assert_array_equal(table.probabilities[rows], fold.probabilities)


def test_pooled_figures_are_those_of_all_images_together(pooled: Path):
    table = read_predictions(pooled / "predictions" / "pooled.csv", ALL)
    metrics = json.loads((pooled / "metrics.json").read_text())
    assert list(metrics) == ["pooled", "fold_0", "fold_1", "fold_2"]
    found = metrics["pooled"]
    assert found["n"] == 4 * PER_CLASS
    assert found["accuracy"] == pytest.approx(accuracy_score(table.labels, table.predicted))
    assert found["macro_f1"] == pytest.approx(
        f1_score(table.labels, table.predicted, average="macro")
    )
    assert found["cancer_recall"] == pytest.approx(
        recall_score(table.labels != 0, table.predicted != 0)
    )
    low, high = found["interval"]["accuracy"]
    assert low < found["accuracy"] < high
    assert sum(metrics[f"fold_{i}"]["n"] for i in range(3)) == found["n"]


def test_no_trial_opens_its_fold_and_the_page_says_what_was_opened(pooled: Path):
    for trial in "012":
        assert list(json.loads((pooled / trial / "metrics.json").read_text())) == ["val"]
        assert not (pooled / trial / "predictions" / "test.csv").exists()
    assert not (pooled / "winner").exists()
    page = (pooled / "report.html").read_text()
    assert "opens every held-out fold once" in page
    assert "Winner" not in page
    assert "pooled (n = 84)" in page
    assert "fold 2 (n = 28)" in page
    assert "mean over folds" in page
    assert (pooled / "figures" / "confusion.png").is_file()


def test_the_same_command_predicts_nothing_again(pooled: Path, home: Path):
    kept = {path: path.stat().st_mtime_ns for path in (pooled / "predictions").iterdir()}
    again = kfold(home)
    assert again.returncode == 0, again.stderr
    assert "0 of 3 trials to run" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["split.fold=0,1"], "every fold from 0 to 2 once"),
        (["seed=0,1"], "a list for seed"),
        (["loss.lambda_nll=1,2"], "a list for loss.lambda_nll"),
        (["study.skip_failed=true"], "skip_failed"),
    ],
)
def test_what_is_no_division_into_folds_is_one_line(overrides: list[str], told: str, home: Path):
    done = kfold(home, *overrides, "study.name=wrong")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
    assert not (home / "runs" / "wrong" / "0").exists()


def test_an_image_in_two_folds_is_refused():
    table = Predictions(("a", "b"), np.array([0, 1]), np.full((2, 4), 0.25), ALL)
    with pytest.raises(UserError, match="'a' is in several"):
        pool([table, table])
