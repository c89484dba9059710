"""`python -m leukemia.evaluate suite=stain`, from outside."""

import csv
import json
from pathlib import Path

import pytest
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from leukemia.classes import Classes
from leukemia.data.colour import mean_colour
from leukemia.data.files import read_image
from leukemia.report.predictions import read_predictions
from tests.commands import run_here


def test_a_suite_scores_the_run_and_the_colour_floors(finished: Path, cache: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = run_here(
        "evaluate",
        f"run={finished}",
        "suite=stain",
        "suite.perturbations=[darker,white balance]",
        "suite.strengths=[1,5]",
        f"output={out}",
        cache=cache,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "suite_stain.json").read_text())
    with (out / "suite_stain.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["scored"]) == 3 * (1 + 2 * 2)
    plain = {row["model"]: row for row in rows if row["perturbation"] == "none"}
    own = read_predictions(finished / "predictions" / "test.csv", Classes())
    assert int(plain["run"]["n"]) == found["n"] == len(own.files)
    # One view there, eight here: of few images at most one or two are called otherwise.
    assert float(plain["run"]["accuracy"]) == pytest.approx(
        accuracy_score(own.labels, own.probabilities.argmax(1)), abs=2 / len(own.files)
    )
    assert found["moderate"] == [1]
    assert "mean loss" in done.stdout


def test_the_floor_is_a_support_vector_machine_on_the_training_part(
    finished: Path, cache: Path, tmp_path: Path
):
    root = next(path for path in cache.iterdir() if path.name.startswith("synthetic-20-"))
    with (finished / "split.csv").open() as file:
        table = list(csv.DictReader(file))
    parts = {
        part: [
            (mean_colour(read_image(root / row["file"])), row["label"])
            for row in table
            if row["part"] == part
        ]
        for part in ("train", "test")
    }
    machine = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(*zip(*parts["train"], strict=True))
    run_here(
        "evaluate",
        f"run={finished}",
        "suite=stain",
        "suite.perturbations=[noise]",
        "suite.strengths=[1]",
        f"output={tmp_path}",
        cache=cache,
        cwd=tmp_path,
    )
    scored = json.loads((tmp_path / "suite_stain.json").read_text())["scored"]
    (floor,) = [row for row in scored if (row["model"], row["strength"]) == ("mean colour", 0)]
    assert floor["accuracy"] == pytest.approx(machine.score(*zip(*parts["test"], strict=True)))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("suite.perturbations=[pitch]", "'pitch'"),
        ("suite.strengths=[6]", "suite.strengths"),
        ("suite.limit=0", "suite.limit"),
        ("data.root=elsewhere", "part="),
        ("suite=tones", "tones"),
    ],
)
def test_a_bad_setting_is_one_line(
    setting: str, says: str, finished: Path, cache: Path, tmp_path: Path
):
    suite = [] if setting.startswith("suite=") else ["suite=stain"]
    done = run_here("evaluate", f"run={finished}", *suite, setting, cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (finished / "evaluation").exists()
