"""`python -m leukemia.evaluate suite=stain`, from outside."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import leukemia
from leukemia.classes import Classes
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.files.images import read_image
from leukemia.data.image.preprocess import Preprocess, mean_colour
from leukemia.data.split.parts import Split
from leukemia.runs.suite import run_suite
from tests.commands import painted, run_here


def table_of(run: Path) -> list[dict[str, str]]:
    with (run / "split.csv").open() as file:
        return list(csv.DictReader(file))


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
    root = painted(cache)
    own = [row for row in table_of(finished) if row["part"] == "test"]
    scores = leukemia.load(finished).predict([root / row["file"] for row in own])
    right = [row["label"] == label for row, label in zip(own, scores.predicted, strict=True)]
    assert int(plain["run"]["n"]) == found["n"] == len(own)
    assert float(plain["run"]["accuracy"]) == pytest.approx(np.mean(right))
    assert found["moderate"] == [1]
    assert "mean loss" in done.stdout


def test_the_floor_is_a_support_vector_machine_on_the_training_part(
    finished: Path, cache: Path, tmp_path: Path
):
    root, table = painted(cache), table_of(finished)
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


def test_the_stain_of_an_image_comes_from_another_acquisition(tmp_path: Path):
    # Every acquisition is of one brightness, has images of both classes, and lies in both parts.
    levels = [60, 120, 180]
    rng = np.random.default_rng(0)
    for name in "AB":
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = (levels[number % 3] + rng.integers(-9, 10, (16, 16, 3))).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "images" / name / f"{number:02d}.png"), pixels)

    def splitter(manifest, _):
        rows = np.arange(24)
        parts = {"train": rows[rows % 12 < 6], "val": rows[rows % 12 > 8]}
        return Split(
            {**parts, "test": rows[(rows % 12 > 5) & (rows % 12 < 9)]}, rows % 3, (), "paper"
        )

    classes = Classes(("A", "B"), benign="A")
    cache = tmp_path / "cache"
    data = SmearDataModule(tmp_path / "images", classes, Preprocess(), splitter, cache, workers=1)
    data.setup()
    seen = []

    def see(image):
        seen.append(image)
        return image

    run = SimpleNamespace(
        cfg=SimpleNamespace(seed=0),
        classes=classes,
        preprocess=see,
        score=lambda pixels: np.ones((len(pixels), 2)),
    )
    run_suite(run, data, "test", perturbations=["stain"], strengths=[5], title="", progress=False)
    plain, changed = np.array([image.mean() for image in seen]).reshape(2, 6)
    assert np.abs(np.array(levels)[[0, 1, 2, 0, 1, 2]] - plain).max() < 5
    assert np.abs(changed - plain).min() > 40
    # Each is of an acquisition all the same.
    assert np.abs(changed[:, None] - levels).min(axis=1).max() < 10


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
