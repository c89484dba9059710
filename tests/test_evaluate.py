"""`python -m leukemia.evaluate`, from outside."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukemia.classes import Classes
from leukemia.data import datamodule
from leukemia.measure.comparison import compare
from leukemia.measure.predictions import read_predictions
from leukemia.runs import scoring as parts
from leukemia.runs.finished import open_finished
from leukemia.runs.pages import compare_runs
from tests.commands import painted, run_here, seal

CLASSES = Classes(("Benign", "Early", "Pre", "Pro"), "Benign")


@pytest.fixture
def other(finished: Path, cache: Path, tmp_path: Path) -> Path:
    """Another folder with the same classes: the run's own test images under other names."""
    for line in (finished / "split.csv").read_text().splitlines()[1:]:
        file, _, _, _, part = line.split(",")
        if part == "test":
            target = tmp_path / "other" / file.replace("/", "/new-")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(painted(cache) / file, target)
    return tmp_path / "other"


def training_image(finished: Path, cache: Path) -> tuple[str, Path]:
    table = [line.split(",") for line in (finished / "split.csv").read_text().splitlines()]
    file = next(row[0] for row in table if row[4] == "train" and row[2] == "Pre")
    return file, painted(cache) / file


@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluate_gives_the_figures_of_training(
    part: str, finished: Path, cache: Path, tmp_path: Path
):
    out = tmp_path / "out"
    done = run_here(
        "evaluate", f"run={finished}", f"part={part}", f"output={out}", cache=cache, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    ours = json.loads((out / "metrics.json").read_text())[part]
    theirs = json.loads((finished / "metrics.json").read_text())[part]
    for name in ("accuracy", "cancer_recall", "nll", "brier", "ece", "roc_auc"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6), name
    assert ours["confusion"] == theirs["confusion"]
    # Validation is what the score measures the distance to.
    assert ("out_of_distribution" in ours) == (part == "test")
    tables = [out / "predictions.csv", finished / "predictions" / f"{part}.csv"]
    mine, trained = (read_predictions(path, CLASSES) for path in tables)
    assert mine.files == trained.files
    np.testing.assert_allclose(mine.probabilities, trained.probabilities, atol=1e-6)
    report = (out / "report.html").read_text()
    for section in ("Operating point", "Referral", "Embeddings", "Attention"):
        assert f"<h2>{section}</h2>" in report
    drawn = sorted(path.name for path in (out / "figures").iterdir())
    assert f"confusion_{part}.png" in drawn
    assert f"reliability_{part}.png" in drawn
    assert all(Image.open(out / "figures" / name).size[0] > 300 for name in drawn)


@pytest.mark.parametrize(("folder", "filed"), [("other", "other"), ("test", "folder_test")])
def test_another_folder_is_scored_whole_with_the_run_s_preprocessing(
    folder: str, filed: str, finished: Path, cache: Path, other: Path, tmp_path: Path
):
    other = other.rename(tmp_path / folder)
    done = run_here(
        "evaluate",
        f"run={finished}",
        f"data.root={other}",
        f"output={tmp_path / 'out'}",
        "evaluate.explain=false",
        cache=cache,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())[filed]
    own = json.loads((finished / "metrics.json").read_text())["test"]
    assert figures["n"] == own["n"]
    assert figures["accuracy"] == own["accuracy"]


@pytest.mark.parametrize("how", ["renamed", "saved again as JPEG", "mirrored"])
def test_a_folder_with_one_training_image_is_refused(
    how: str, finished: Path, cache: Path, other: Path, tmp_path: Path
):
    file, path = training_image(finished, cache)
    target = other / "Pre" / "innocent.jpg"
    if how == "renamed":
        shutil.copy(path, target)
    else:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        Image.fromarray(pixels[:, ::-1] if how == "mirrored" else pixels).save(target, quality=70)
    done = run_here("evaluate", f"run={finished}", f"data.root={other}", cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert "Pre/innocent.jpg" in done.stderr
    assert file in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "new-" not in done.stderr
    assert not (finished / "evaluation" / "other").exists()


def test_a_folder_without_classes_gets_predictions_only(
    finished: Path, cache: Path, tmp_path: Path
):
    loose, out = tmp_path / "loose", tmp_path / "out"
    loose.mkdir()
    for path in sorted((painted(cache) / "Pre").iterdir())[:3]:
        shutil.copy(path, loose)
    words = [f"run={finished}", f"data.root={loose}", f"output={out}"]
    done = run_here("evaluate", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.iterdir()] == ["predictions.csv"]
    table = (out / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table[1:]] == sorted(p.name for p in loose.iterdir())


def test_figures_at_the_operating_point_follow_from_the_predictions(
    finished: Path, cache: Path, tmp_path: Path
):
    words = [f"run={finished}", f"output={tmp_path}", "evaluate.explain=false"]
    done = run_here("evaluate", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    calibration = json.loads((finished / "calibration.json").read_text())
    judgement = json.loads((tmp_path / "metrics.json").read_text())["test"]["judgement"]
    table = read_predictions(tmp_path / "predictions.csv", CLASSES)
    p = table.probabilities ** (1 / calibration["temperature"])
    p_cancer = 1 - p[:, 0] / p.sum(axis=1)
    cancer = table.labels > 0
    found = judgement["operating"]["threshold"]
    called = p_cancer >= calibration["threshold"] - 1e-12
    assert found["sensitivity"] == pytest.approx(called[cancer].mean())
    assert found["specificity"] == pytest.approx((~called)[~cancer].mean())
    missed = [f for f, c, y in zip(table.files, called, cancer, strict=True) if y and not c]
    assert sorted(one["file"] for one in found["false_negatives"]) == sorted(missed)


def test_runs_are_compared_in_pairs(finished: Path, cache: Path, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    done = run_here(
        "evaluate",
        f"runs=[{finished},{again}]",
        f"output={tmp_path / 'compared'}",
        cache=cache,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "compared" / "comparison.png").stat().st_size > 10_000
    compared = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    (difference,) = compared["differences"]
    assert difference["difference"]["accuracy"] == 0
    assert difference["mcnemar"]["accuracy"]["p_value"] == 1


def test_a_comparison_is_paired_by_the_groups_of_the_split(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    again = shutil.copytree(finished, tmp_path / "again")
    table = read_predictions(finished / "predictions" / "test.csv", CLASSES)
    wrong = replace(table, probabilities=table.probabilities.copy())
    wrong.probabilities[::3] = np.roll(wrong.probabilities[::3], 1, axis=1)
    wrong.write(again / "predictions" / "test.csv")
    lines = [line.split(",") for line in (finished / "split.csv").read_text().splitlines()]
    group_of = {row[0]: f"patient {row[0][-5]}" for row in lines[1:]}  # by the last digit
    rows = [[*row[:3], group_of.get(row[0], row[3]), *row[4:]] for row in lines]
    first = shutil.copytree(finished, tmp_path / "first")
    (first / "split.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    compare_runs([seal(first), seal(again)], "test", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    tables = {str(first): table, str(again): wrong}
    groups = np.unique([group_of[file] for file in table.files], return_inverse=True)[1]
    assert found == json.loads(json.dumps(compare(tables, groups)))
    assert found != json.loads(json.dumps(compare(tables)))
    assert found["n_groups"] == len(np.unique(groups)) < found["n"]
    assert "groups better" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "run="),
        (["run=nowhere"], "nowhere"),
        (["run={run}", "part=tset"], "tset"),
        (["run={run}", "data.root=nowhere"], "nowhere"),
        (["run={run}", "evaluate.sensitivity=2"], "sensitivity"),
        (["runs=[{run}]"], "two or more"),
    ],
)
def test_a_mistake_is_one_clear_line(
    overrides: list[str], said: str, finished: Path, cache: Path, tmp_path: Path
):
    words = [text.format(run=finished) for text in overrides]
    done = run_here("evaluate", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_is_refused_with_the_remedy(finished: Path, cache: Path, tmp_path: Path):
    half = tmp_path / "half"
    shutil.copytree(finished, half)
    (half / "DONE").unlink()
    done = run_here("evaluate", f"run={half}", cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert "resume=" in done.stderr


@pytest.mark.parametrize("whose", ["own", "other"])
def test_every_file_is_hashed_before_a_test_part_is_opened(whose, finished, smears, monkeypatch):
    def build(*_, verify: bool = False, **__):
        asked.append(verify)
        raise InterruptedError

    asked: list[bool] = []
    for module in (datamodule, parts):
        monkeypatch.setattr(module, "build_manifest", build)
    run = open_finished(finished)
    with pytest.raises(InterruptedError):
        parts.own_data(run) if whose == "own" else parts.other_folder(run, smears)
    assert asked == [True]
