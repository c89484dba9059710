"""Studies from outside: `python -m leukemia.train study=...` and `python -m leukemia.study`."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukemia.runs.finished import open_finished
from leukemia.study import search
from tests.commands import kill_when, rows, run_here, stop_when
from tests.studies import GRID, SMALL, study, trials


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """An uninterrupted study, its trials one after the other."""
    done = study(home, *GRID, "study.name=whole")
    assert done.returncode == 0, done.stderr
    assert "Scored on test, once" in done.stdout
    return home / "runs" / "whole"


def test_a_study_leaves_a_table_a_page_and_figures(whole: Path):
    table = rows(whole / "trials.csv")
    settings = [(r["trial"], r["status"], r["seed"], r["loss.lambda_nll"]) for r in table]
    assert settings == [
        ("0", "done", "0", "0.5"),
        ("1", "done", "0", "1"),
        ("2", "done", "1", "0.5"),
        ("3", "done", "1", "1"),
    ]
    for row in table:
        figures = json.loads((whole / row["trial"] / "metrics.json").read_text())["val"]
        for name in ("accuracy", "macro_f1", "cancer_recall", "cancer_specificity", "nll", "ece"):
            assert float(row[name]) == figures[name]
        assert float(row["recall.Pre"]) == figures["recall"]["Pre"]
        assert float(row["seconds"]) > 0
        assert row["error"] == ""
    assert len({row["nll"] for row in table}) == 4
    page = (whole / "report.html").read_text()
    assert "4 trials: 4 done" in page
    with Image.open(whole / "figures" / "bars.png") as drawn:
        assert min(drawn.size) > 200


def test_trials_never_open_the_test_part_and_the_winner_does_once(whole: Path, home: Path):
    for trial in whole.glob("[0-9]"):
        assert list(json.loads((trial / "metrics.json").read_text())) == ["val"]
        assert not (trial / "predictions" / "test.csv").exists()
    means = {
        (0, 2): np.mean([float(trials(whole)[i]["macro_f1"]) for i in (0, 2)]),
        (1, 3): np.mean([float(trials(whole)[i]["macro_f1"]) for i in (1, 3)]),
    }
    best = max(means, key=lambda trials: means[trials])
    winner = json.loads((whole / "winner" / "winner.json").read_text())
    assert means[0, 2] != means[1, 3]
    assert tuple(winner["trials"]) == best
    assert winner["val"]["macro_f1"] == pytest.approx(means[best])
    found = {
        number: json.loads((whole / "winner" / str(number) / "metrics.json").read_text())
        for number in best
    }
    accuracy = np.mean([figures["test"]["accuracy"] for figures in found.values()])
    assert winner["test"]["accuracy"] == pytest.approx(accuracy)
    assert (whole / "winner" / str(best[0]) / "report.html").is_file()
    again = open_finished(whole / "winner" / str(best[0]))
    assert again.calibration() == open_finished(whole / str(best[0])).calibration()

    # The same figures as those of a run that is no trial.
    row = trials(whole)[best[1]]
    settings = [f"seed={row['seed']}", f"loss.lambda_nll={row['loss.lambda_nll']}"]
    alone = study(home, *SMALL, *settings, "runtime.threads=1", f"hydra.run.dir={home}/alone")
    assert alone.returncode == 0, alone.stderr
    metrics = json.loads((home / "alone" / "metrics.json").read_text())
    for part in ("val", "test"):
        for name in ("accuracy", "macro_f1", "nll", "confusion", "interval"):
            assert metrics[part][name] == found[best[1]][part][name], (part, name)


def test_the_same_command_on_a_finished_study_runs_and_scores_nothing(whole: Path, home: Path):
    kept = {p: p.stat().st_mtime_ns for p in whole.rglob("*.csv") if p.parent != whole}
    again = study(home, *GRID, "study.name=whole")
    assert again.returncode == 0, again.stderr
    assert "0 of 4 trials to run" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    other = study(home, *GRID, "study.name=whole", "study.metric=nll", "study.tie_break=[]")
    assert other.returncode == 2
    assert "it is opened once" in other.stderr


@pytest.mark.parametrize(
    ("launcher", "end"),
    [
        pytest.param([], stop_when, id="stopped"),
        pytest.param([], kill_when, id="serial", marks=pytest.mark.slow),
        pytest.param(["launcher=local", "n=2"], kill_when, id="local", marks=pytest.mark.slow),
    ],
)
def test_a_killed_study_goes_on_and_runs_no_trial_twice(
    launcher: list[str], end: Callable[..., None], whole: Path, home: Path
):
    name = f"{end.__name__}{len(launcher)}"
    arguments = [*GRID, *launcher, f"study.name={name}", f"data.file={home / 'toy.npz'}"]
    folder = home / "runs" / name
    last = folder / "2" / "checkpoints" / "last.ckpt"
    end(
        lambda: (folder / "0" / "DONE").exists() and last.exists(),
        "train",
        *arguments,
        cache=home,
        cwd=home,
    )
    done = [trial for trial in folder.glob("[0-9]") if (trial / "DONE").exists()]
    kept = {p: p.stat().st_mtime_ns for trial in done for p in trial.glob("*.*")}
    assert not (folder / "2" / "DONE").exists()
    assert not (folder / "winner").exists()

    again = study(home, *arguments)
    assert again.returncode == 0, again.stderr
    assert "holds" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert trials(folder) == trials(whole)
    for trial in "0123":
        assert (folder / trial / "history.csv").read_text() == (
            whole / trial / "history.csv"
        ).read_text()
    assert json.loads((folder / "winner" / "winner.json").read_text()) == json.loads(
        (whole / "winner" / "winner.json").read_text()
    )


@pytest.mark.parametrize(
    ("launcher", "seeds"),
    [
        ("local", "0"),
        pytest.param("local", "0,1", marks=pytest.mark.slow),
        pytest.param("submitit_local", "0,1", marks=pytest.mark.slow),
    ],
)
def test_trials_in_processes_of_their_own_give_the_same_table(
    launcher: str, seeds: str, whole: Path, home: Path
):
    if launcher.startswith("submitit"):
        pytest.importorskip("submitit", reason="the extra leukemia[slurm] is not installed")
    name = f"{launcher}{len(seeds)}"
    words = [f"study.name={name}", f"launcher={launcher}", f"seed={seeds}"]
    done = study(home, *GRID, *words)
    assert done.returncode == 0, done.stderr
    found = trials(home / "runs" / name)
    assert len(found) == 2 * len(seeds.split(","))
    # The setting that has one value alone has no column.
    assert [{**row, "seed": row.get("seed", seeds)} for row in found] == trials(whole)[: len(found)]


def test_a_failing_trial_is_listed_and_stops_no_other(home: Path):
    lists = ["study=seeds", "seed=0", "model.head.dropout=2,0,0.1", *SMALL]
    lists += ["study.name=failing", "stage.head.epochs=2"]
    done = study(home, *lists)
    folder = home / "runs" / "failing"
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "1 of 3 trials failed" in done.stderr
    assert "Expected model.head.dropout to be in [0, 1), but got 2." in done.stdout
    assert [row["status"] for row in trials(folder)] == ["failed", "done", "done"]
    assert "got 2" in trials(folder)[0]["error"]
    assert not (folder / "winner").exists()
    chosen = study(home, *lists, "study.skip_failed=true")
    assert chosen.returncode == 2
    assert "1 of 3 trials failed" in chosen.stderr
    assert (folder / "winner" / "winner.json").exists()


@pytest.mark.parametrize("launcher", [[], ["launcher=local", "n=1"]], ids=["serial", "local"])
def test_fail_fast_starts_no_trial_after_a_failure(launcher: list[str], home: Path):
    name = f"fast{len(launcher)}"
    lists = ["study=seeds", "seed=0", "model.head.dropout=2,0", *SMALL, *launcher]
    done = study(home, *lists, f"study.name={name}", "study.fail_fast=true")
    assert done.returncode == 2
    assert [row["status"] for row in trials(home / "runs" / name)] == ["failed", "waiting"]
    assert not (home / "runs" / name / "1" / "config.yaml").exists()


def test_a_study_refuses_a_folder_with_trials_of_other_settings(whole: Path, home: Path):
    other = study(home, *GRID, "study.name=whole", "stage.head.optimizer.lr=0.5")
    assert other.returncode == 2
    assert "stage.head.optimizer.lr is 0.01 there and 0.5 here" in other.stderr
    fewer = study(home, *GRID, "study.name=whole", "seed=0")
    assert fewer.returncode == 2
    assert "does not have" in fewer.stderr
    assert fewer.stderr.count("\n") == 1


def test_the_verb_rebuilds_a_study_that_is_not_finished(whole: Path, home: Path, tmp_path: Path):
    for trial in "012":
        target = tmp_path / trial
        target.mkdir()
        for name in ("config.yaml", "metrics.json", "environment.json", "DONE"):
            (target / name).write_text((whole / trial / name).read_text())
    (tmp_path / "2" / "DONE").unlink()
    (tmp_path / "study.json").write_text((whole / "study.json").read_text())
    done = run_here("study", f"dir={tmp_path}", cache=home, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 trials are done" in done.stdout
    assert [row["status"] for row in trials(tmp_path)] == ["done", "done", "started", "waiting"]
    assert trials(tmp_path)[:2] == trials(whole)[:2]
    absent = run_here("study", f"dir={tmp_path}/none", cache=home, cwd=home)
    assert absent.returncode == 2
    assert "study.json" in absent.stderr


@pytest.mark.slow
def test_the_schedules_leave_out_a_warm_up_where_there_is_none(home: Path):
    done = study(
        home,
        "study=schedules",
        *SMALL,
        "seed=0",
        "schedule=constant,one_cycle",
        "stage.finetune.optimizer.lr=0.0005",
        "trainer.max_epochs=2",
    )
    assert done.returncode == 0, done.stderr
    folder = home / "runs" / "schedules"
    pairs = {(row["schedule"], row["schedule.warmup"]) for row in trials(folder)}
    assert pairs == {("constant", "0"), ("constant", "0.1"), ("one_cycle", "0")}
    assert (folder / "figures" / "curves.png").is_file()


MISTAKES = {
    "unknown study": (["study=grid"], "'study': backbones kfold lambda_grid"),
    "negative lambda": ([*GRID, "loss.lambda_nll=1,-1"], "loss.lambda_nll=-1"),
    "lambda no number": ([*GRID, "loss.lambda_nll=much"], "loss.lambda_nll"),
    "lambda not a number": (
        [*GRID, "loss.lambda_bce=1,nan"],
        "loss.lambda_bce to be a finite number",
    ),
    "devices in a study": ([*GRID, "trainer.devices=2"], "trainer.devices=2"),
    "devices": (["-m", "seed=0,1", *SMALL, "trainer.devices=2"], "trainer.devices=2"),
    "test part": ([*GRID, "open_test=true"], "open_test"),
    "unknown figure": ([*GRID, "study.metric=f1"], "macro_f1"),
    "no trials at a time": ([*GRID, "launcher=local", "n=0"], "n (trials at a time)"),
    "nothing left": ([*GRID, "study.exclude=[{seed: '*'}]"], "study.exclude"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_starts_no_trial(name: str, home: Path, tmp_path: Path):
    overrides, told = MISTAKES[name]
    file = f"data.file={home / 'toy.npz'}"
    done = run_here("train", *overrides, file, cache=home, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
    assert "provider=" not in done.stderr
    assert list(tmp_path.rglob("config.yaml")) == []


def test_a_search_without_optuna_is_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = importlib.util.find_spec
    monkeypatch.setattr(search, "find_spec", lambda name: None if name == "optuna" else found(name))
    file = f"data.file={home / 'toy.npz'}"
    done = run_here("train", "study=search", *SMALL, file, cache=home, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "leukemia: study=search needs an extra: pip install 'leukemia[search]'.\n"
    )
