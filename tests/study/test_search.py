"""A search from outside: `python -m leukemia.train study=search`."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from leukemia.errors import UserError
from leukemia.study.figures import parallel
from leukemia.study.record import read_study
from leukemia.study.search import Choices, Interval, Search
from tests.commands import kill_when, run_here
from tests.studies import trials

pytest.importorskip("optuna", reason="the extra leukemia[search] is not installed")

SEARCH = [
    "study=search",
    "data=embeddings",
    "split=stratified",
    "head=linear",
    "stage.head.epochs=4",
    "stage.head.batch_size=16",
    "runtime.save_every=0",
    "report.map=null",
    "study.trials=5",
    "study.pruner.startup_trials=2",
    "study.pruner.warmup_epochs=1",
    "loss.lambda_nll=1",
    "loss.lambda_bce=0,1",
    "stage.finetune.optimizer.lr=0.0005",
    "stage.finetune.optimizer.weight_decay=0.05",
    "stage.head.optimizer.lr=tag(log,interval(1e-4,0.1))",
]
SEARCHED = ["model.head.dropout", "loss.lambda_bce", "stage.head.optimizer.lr"]


def search(home: Path, *overrides: str):
    file = f"data.file={home / 'toy.npz'}"
    return run_here("train", *SEARCH, file, *overrides, cache=home, cwd=home)


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """An uninterrupted search."""
    done = search(home, "study.name=whole")
    assert done.returncode == 0, done.stderr
    assert "5 of 5 trials to run" in done.stdout
    assert done.stdout.count("Scored on test, once") == 1
    return home / "runs" / "whole"


def test_a_search_tries_what_its_space_allows_and_prunes(whole: Path):
    rows = trials(whole)
    assert len(rows) == 5
    for row in rows:
        assert 1e-4 <= float(row["stage.head.optimizer.lr"]) <= 0.1
        assert 0 <= float(row["model.head.dropout"]) <= 0.6
        assert row["loss.lambda_bce"] in ("0", "1")
    assert [key for key in rows[0] if "." in key][:3] == SEARCHED
    assert {"done", "pruned"} == {row["status"] for row in rows}
    assert {row["status"] for row in rows[:2]} == {"done"}  # the startup trials
    for row in rows:
        if row["status"] == "pruned":
            assert row["error"].startswith("pruned after epoch")
            assert not (whole / row["trial"] / "checkpoints").exists()


def test_the_winner_of_a_search_is_the_trial_with_the_best_figure(whole: Path):
    done = [row for row in trials(whole) if row["status"] == "done"]
    best = min(done, key=lambda row: float(row["nll"]))["trial"]
    (scored,) = [path.name for path in (whole / "winner").iterdir() if path.is_dir()]
    assert scored == best


def test_parallel_coordinates_have_a_line_a_finished_trial(whole: Path):
    study = read_study(whole)
    axes = parallel(study).axes[0]
    drawn = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    done = study.with_status("done")
    assert set(drawn) == {f"trial {trial.number}" for trial in done}
    rates = [float(trial.settings["stage.head.optimizer.lr"]) for trial in done]
    heights = [drawn[f"trial {trial.number}"].get_ydata()[2] for trial in done]
    expected = np.log(np.array(rates) / min(rates)) / np.log(max(rates) / min(rates))
    np.testing.assert_allclose(heights, expected)
    assert (whole / "figures" / "search.png").is_file()


@pytest.mark.slow
def test_a_search_that_is_made_longer_goes_on_as_if_it_had_been_so_at_once(whole: Path, home: Path):
    first = search(home, "study.name=longer", "study.trials=3")
    assert first.returncode == 0, first.stderr
    # Its winner was scored: another may win now, which the folder says no to.
    (home / "runs" / "longer" / "winner" / "chosen.json").unlink()
    again = search(home, "study.name=longer")
    assert again.returncode == 0, again.stderr
    assert "2 of 5 trials to run" in again.stdout
    assert trials(home / "runs" / "longer") == trials(whole)


def test_a_proposal_that_was_cut_off_between_two_settings_is_completed_as_it_would_have_been(
    tmp_path: Path,
):
    space = {"a": Interval(0, 1), "b": Choices(("x", "y", "z")), "c": Interval(1e-3, 1, log=True)}
    settings = OmegaConf.create(
        {
            "metric": "nll",
            "tie_break": [],
            "trials": 3,
            "seed": 7,
            "pruner": None,
            "fail_fast": False,
        }
    )
    expected = Search(tmp_path / "whole", settings, space).next(3)
    assert len({one.settings["a"] for one in expected}) == 3
    cut = Search(tmp_path / "cut", settings, space)
    cut.next(1)
    half = cut.study.ask()
    half.suggest_float("a", 0, 1)  # drawn by whatever sampler: it stays as it is
    settings.metric = "accuracy"
    with pytest.raises(UserError, match=r"a search by nll, but got study.metric=accuracy"):
        Search(tmp_path / "cut", settings, space)
    settings.metric = "nll"
    again = Search(tmp_path / "cut", settings, space).next(3)
    assert again[0] == expected[0]
    assert {**again[1].settings, "a": ""} == {**expected[1].settings, "a": ""}
    assert again[2] == expected[2]


@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_same_command(whole: Path, home: Path):
    file = f"data.file={home / 'toy.npz'}"
    folder = home / "runs" / "killed"
    kill_when(
        lambda: (folder / "1" / "DONE").exists() and (folder / "2" / "history.csv").exists(),
        "train",
        *SEARCH,
        file,
        "study.name=killed",
        cache=home,
        cwd=home,
    )
    kept = {path: path.stat().st_mtime_ns for n in "01" for path in (folder / n).glob("*.*")}
    assert not (folder / "winner").exists()
    again = search(home, "study.name=killed")
    assert again.returncode == 0, again.stderr
    assert "5 trials to run" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert trials(folder) == trials(whole)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["stage.head.optimizer.lr=interval(0.1,0.01)"], "stage.head.optimizer.lr"),
        (["study.trials=0"], "study.trials"),
        (["study.fail_fast=true"], "study.fail_fast"),
        (["study.metric=macro_f1"], "study.pruner=null"),
        (["loss.lambda_bce=interval(-2,-1)"], "lambda_bce"),
        (
            ["loss.lambda_bce=1", "model.head.dropout=0", "stage.head.optimizer.lr=0.1"],
            "needs a setting to search",
        ),
    ],
)
def test_a_search_that_cannot_be_is_one_line(overrides: list[str], told: str, home: Path):
    done = search(home, *overrides, f"study.name=wrong{abs(hash(told))}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr


def test_a_search_of_another_space_is_refused(whole: Path, home: Path):
    done = search(home, "study.name=whole", "model.head.dropout=interval(0,0.5)")
    assert done.returncode == 2
    assert "another space (model.head.dropout)" in done.stderr
