"""Runs tracked by W&B, read back from the files it wrote."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from leukemia.classes import Classes
from leukemia.measure.predictions import read_predictions
from leukemia.report.curves import read_history
from tests.commands import SMALL, epochs_of, kill_when, run
from tests.tracking.conftest import Network
from tests.tracking.wandb_files import WandbRun, read_only_part

ALL = Classes()
LOGGED = [
    *SMALL,
    "stage.head.epochs=3",
    "stage.finetune.epochs=2",
    "logger=[csv,wandb]",
    "logger.wandb.tags=[mine]",
    "logger.wandb.mistakes=5",
    "logger.wandb.artifacts=true",
    "runtime.tta=false",
    "report.map=null",
]


@dataclass
class Tracked:
    """A training in a process of its own, whose network is watched."""

    folder: Path
    said: str
    touched: list[str]
    wandb: WandbRun


@pytest.fixture(scope="module")
def tracked(network: Network, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    folder = tmp_path_factory.mktemp("tracked") / "run"
    network.touched()
    words = [*LOGGED, f"hydra.run.dir={folder}"]
    done = run("train", *words, cache=cache, cwd=folder.parent, **network.changes)
    assert done.returncode == 0, done.stderr
    return Tracked(folder, done.stdout, network.touched(), read_only_part(folder))


def test_an_offline_run_touches_no_network_and_says_how_to_send_it(tracked: Tracked):
    assert tracked.touched == []
    told = [line for line in tracked.said.splitlines() if line.startswith("W&B")]
    pattern = f"{tracked.folder}/wandb/offline-run-*"
    assert told == [f"W&B: offline; send it later with: wandb sync {pattern}"]


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_wandb_run(
    tracked: Tracked, network: Network, cache: Path, tmp_path: Path
):
    folder = tmp_path / "run"
    kill_when(
        lambda: epochs_of(folder, "finetune") >= 1,
        "train",
        *LOGGED,
        f"hydra.run.dir={folder}",
        cache=cache,
        cwd=tmp_path,
        **network.changes,
    )
    first_part = next((folder / "wandb").glob("offline-run-*")).name
    again = run("train", f"resume={folder}", cache=cache, cwd=tmp_path, **network.changes)
    assert again.returncode == 0, again.stderr
    assert network.touched() == []
    run_id = (folder / "wandb.id").read_text()
    whole = read_only_part(folder)
    assert first_part.endswith(f"-{run_id}")
    assert whole.run.run_id == run_id
    assert whole.run.resume
    assert whole.exit_code == 0
    # What was killed may lack epochs, so it is out of the way of `wandb sync`, but not lost.
    superseded = folder / "wandb" / "superseded" / first_part
    # Killed at once, W&B may not even have written which run it is.
    assert [path.suffix for path in superseded.glob("*.wandb")] == [".wandb"]
    assert whole.folder.name != first_part
    curves = [
        [{k: v for k, v in row.items() if k.startswith("curves/")} for row in found.rows]
        for found in (whole, tracked.wandb)
    ]
    assert curves[0] == curves[1]


def test_the_curves_are_history_csv_on_one_axis_over_both_stages(tracked: Tracked):
    history = read_history(tracked.folder / "history.csv")
    assert [row["stage"] for row in history] == ["head"] * 3 + ["finetune"] * 2
    found = [row for row in tracked.wandb.rows if "curves/epoch" in row]
    assert [row["curves/epoch"] for row in found] == [1, 2, 3, 4, 5]
    assert [row["_step"] for row in found] == [0, 1, 2, 3, 4]
    for name in ("lr", "train_loss", "val_loss", "val_accuracy", "val_cancer_recall"):
        got = [row[f"curves/{name}"] for row in found]
        np.testing.assert_allclose(got, [row[name] for row in history], rtol=1e-6)
    assert tracked.wandb.step_of == {"curves/*": "curves/epoch"}


def test_the_whole_config_is_kept(tracked: Tracked):
    kept = dict(tracked.wandb.config)
    kept.pop("_wandb")
    assert kept == OmegaConf.to_container(OmegaConf.load(tracked.folder / "config.yaml"))
    assert tracked.wandb.run.job_type == "head+finetune"
    assert sorted(tracked.wandb.run.tags) == ["mine", "resnet18", "synthetic"]
    assert tracked.wandb.run.display_name == "run"


def test_the_summary_holds_the_figures_of_validation_and_test(tracked: Tracked):
    metrics = json.loads((tracked.folder / "metrics.json").read_text())
    summary = tracked.wandb.summary
    for part in ("val", "test"):
        for name in ("accuracy", "cancer_recall", "cancer_specificity", "nll", "n"):
            assert summary[f"{part}/{name}"] == pytest.approx(metrics[part][name]), name
        assert summary[f"{part}/recall/Benign"] == metrics[part]["recall"]["Benign"]
        low, high = metrics[part]["interval"]["cancer_recall"]
        assert summary[f"{part}/interval/cancer_recall/low"] == pytest.approx(low)
        assert summary[f"{part}/interval/cancer_recall/high"] == pytest.approx(high)


def test_the_charts_hold_confusion_roc_and_precision_recall(tracked: Tracked):
    metrics = json.loads((tracked.folder / "metrics.json").read_text())
    for part in ("val", "test"):
        columns, data = tracked.wandb.table(f"{part}/confusion_table")
        assert columns == ["Actual", "Predicted", "nPredictions"]
        counts = {(true, called): n for true, called, n in data}
        names = ALL.names
        assert [[counts[a, b] for b in names] for a in names] == metrics[part]["confusion"]
        columns, data = tracked.wandb.table(f"{part}/roc_table")
        assert columns == ["class", "fpr", "tpr"]
        assert {row[0] for row in data} == {"cancer"}
        area = np.trapezoid([row[2] for row in data], [row[1] for row in data])
        assert area == pytest.approx(metrics[part]["roc_auc"], abs=0.02)  # W&B rounds
        columns, data = tracked.wandb.table(f"{part}/pr_table")
        assert columns == ["class", "precision", "recall"]
        assert {row[0] for row in data} == {"cancer"}


def test_mistakes_come_with_their_images_and_stay_in_the_run_directory(tracked: Tracked):
    table = read_predictions(tracked.folder / "predictions" / "val.csv", ALL)
    wrong = {
        f for f, a, b in zip(table.files, table.labels, table.predicted, strict=True) if a != b
    }
    columns, data = tracked.wandb.table("val/mistakes")
    assert columns[:4] == ["image", "file", "label", "prediction"]
    assert len(data) == min(5, len(wrong)) > 0
    assert {row[1] for row in data} <= wrong
    kept = tracked.wandb.images()
    assert kept
    for path in kept:
        assert path.is_relative_to(tracked.folder / "wandb")
        assert Image.open(path).size == (64, 64)


def test_best_checkpoint_and_split_are_artifacts_where_they_lie(tracked: Tracked):
    for kind, file in (("model", "checkpoints/best.ckpt"), ("split", "split.csv")):
        assert tracked.wandb.files(kind) == [tracked.folder / file]
