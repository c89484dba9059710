"""`stage.*.refit`: validation is measured first, then the last stage learns from it too."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from leukemia.measure.ood import fit_known, read_known
from leukemia.runs.finished import open_finished
from leukemia.runs.scoring import judge_part, own_data
from tests.commands import SMALL, epochs_of, kill_when, rows, run, run_here, stop_when, write_toy

CLASSES = ["Benign", "Early", "Pre", "Pro"]
TOY = ["data=embeddings", "split=stratified", "loss.cancer_weight=1", "runtime.progress=false"]
TOY += [
    "report.map=null",
    "stage.head.epochs=12",
    "stage.head.batch_size=16",
    "runtime.save_every=0",
    "runtime.threads=1",
]
# Fast enough that the best epoch is not the last, and with averaged weights.
TOY += ["stage.head.optimizer.lr=0.1", "stage.head.ema_decay=0.9"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.npz"
    write_toy(path)
    return path


def train(folder: Path, toy: Path, *changes: str) -> Path:
    settings = [*TOY, f"data.file={toy}", *changes, f"hydra.run.dir={folder}"]
    done = run_here("train", *settings, cache=toy.parent, cwd=toy.parent)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def refitted(toy: Path) -> Path:
    """A run whose head is refitted by gradients."""
    return train(toy.parent / "refitted", toy, "stage.head.refit=true")


WHITENED = ["head=whitened", "stage.head.refit=true", "stage.head.optimizer.lr=0.01"]


@pytest.fixture(scope="module")
def whitened(toy: Path) -> Path:
    """A run whose head begins at the discriminant, and is refitted."""
    return train(toy.parent / "whitened", toy, *WHITENED)


def log_odds(run: Path, part: str) -> np.ndarray:
    """Log p - log p_Benign of a part, in the order of its file's name."""
    table = sorted(rows(run / "predictions" / f"{part}.csv"), key=lambda row: row["file"])
    logs = np.log([[float(row[f"p_{name}"]) for name in CLASSES] for row in table])
    return logs - logs[:, :1]


def discriminant(run: Path, toy: Path, learnt: set[str], part: str) -> np.ndarray:
    """The same by scikit-learn, fitted to some parts, up to the temperature."""
    with np.load(toy) as archive:
        values = dict(zip(archive["files"].tolist(), archive["embeddings"], strict=True))
    split = rows(run / "split.csv")
    known = [row for row in split if row["part"] in learnt]
    x = np.array([values[row["file"]] for row in known], np.float64)
    y = [CLASSES.index(row["label"]) for row in known]
    mean, deviation = x.mean(0), x.std(0)
    machine = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    machine.fit((x - mean) / deviation, y)
    judged = sorted(row["file"] for row in split if row["part"] == part)
    table = machine.decision_function((np.array([values[f] for f in judged]) - mean) / deviation)
    return table - table[:, :1]


# bfloat16 rounds each of two log-odds of up to 8 by 2**-9 of it, and factors of each before.
@pytest.mark.parametrize(("precision", "atol"), [("32-true", 1e-3), ("bf16-mixed", 8 * 2**-7)])
@pytest.mark.parametrize("refit", [True, False])
def test_test_sees_a_head_that_learnt_from_validation_too(
    refit: bool, precision: str, atol: float, toy: Path, tmp_path: Path
):
    words = ["head=discriminant", f"stage.head.refit={refit}", f"trainer.precision={precision}"]
    run = train(tmp_path / "run", toy, *words)
    kept = {"train", "val"} if refit else {"train"}
    for part, learnt in (("val", {"train"}), ("test", kept)):
        found, expected = log_odds(run, part), discriminant(run, toy, learnt, part)
        temperature = np.abs(expected).sum() / np.abs(found).sum()
        np.testing.assert_allclose(found * temperature, expected, rtol=1e-3, atol=atol)
        other = discriminant(run, toy, {"train", "val"} if learnt == {"train"} else {"train"}, part)
        assert np.abs(found * temperature - other).max() > 0.1


def test_validation_is_measured_before_and_chooses_the_epochs(
    refitted: Path, toy: Path, tmp_path: Path
):
    plain = train(tmp_path / "plain", toy, "stage.head.refit=false")
    for name in ("predictions/val.csv", "calibration.json", "split.csv"):
        assert (refitted / name).read_text() == (plain / name).read_text(), name
    assert (refitted / "predictions/test.csv").read_text() != (
        plain / "predictions/test.csv"
    ).read_text()
    history = rows(refitted / "history.csv")
    head = [row for row in history if row["stage"] == "head"]
    again = [row for row in history if row["stage"] == "refit"]
    losses = [float(row["val_nll"]) for row in head]
    assert losses.index(min(losses)) + 1 == len(again) < len(head)
    assert {row["val_nll"] for row in again} == {""}
    assert "fitted again on both" in (refitted / "report.html").read_text()
    assert "training and validation together" in (refitted / "MODEL_CARD.md").read_text()


def test_what_is_kept_is_what_test_saw(refitted: Path, toy: Path, tmp_path: Path):
    words = [f"run={refitted}", f"output={tmp_path}", "evaluate.explain=false"]
    done = run_here("evaluate", *words, cache=toy.parent, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "was trained on these images" not in done.stdout
    again = (tmp_path / "predictions.csv").read_text()
    assert again == (refitted / "predictions/test.csv").read_text()
    done = run_here("evaluate", *words, "part=val", cache=toy.parent, cwd=tmp_path)
    assert "was trained on these images" in " ".join(done.stdout.split())


FINE = [*SMALL, "report.map=null", "stage.finetune.refit=true"]


@pytest.fixture(scope="module")
def fine(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared run over both stages, but that all weights are fitted again at the end."""
    folder = tmp_path_factory.mktemp("fine") / "run"
    done = run_here("train", *FINE, f"hydra.run.dir={folder}", cache=cache, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


def test_all_weights_are_fitted_again_too(fine: Path, finished: Path):
    for name in ("predictions/val.csv", "calibration.json"):
        assert (fine / name).read_bytes() == (finished / name).read_bytes(), name
    history = rows(fine / "history.csv")
    first = [row for row in history if row["stage"] == "finetune"]
    again = [row for row in history if row["stage"] == "refit"]
    losses = [float(row["val_nll"]) for row in first]
    assert len(again) == losses.index(min(losses)) + 1
    # Both begin with what the head's stage left: 11.6, where random weights have 1.5.
    began = [float(table[0]["train_nll"]) for table in (first, again)]
    assert began[1] == pytest.approx(began[0], rel=0.05)
    assert began[0] > 5
    states = [
        torch.load(path, weights_only=True)["state_dict"]
        for path in (
            fine / "checkpoints/refit.ckpt",
            fine / "checkpoints/best.ckpt",
            finished / "checkpoints/best.ckpt",
        )
    ]
    refit, kept, before = states
    assert all(torch.equal(refit[name], kept[name]) for name in kept)
    backbone = next(name for name in kept if name.startswith("backbone") and kept[name].ndim == 4)
    assert not torch.equal(kept[backbone], before[backbone])
    assert "fitted again on both" in (fine / "report.html").read_text()


def test_strangeness_is_measured_by_the_backbone_that_is_kept(fine: Path, finished: Path):
    run = open_finished(fine, progress=False)
    seen = judge_part(run, own_data(run), "val").embeddings.numpy()
    known, before = read_known(fine / "ood.npz"), read_known(finished / "ood.npz")
    np.testing.assert_allclose(known.bank, fit_known(seen).bank, atol=1e-5)
    assert np.abs(known.bank - before.bank).max() > 1e-3


@pytest.mark.parametrize("stage", ["head", pytest.param("refit", marks=pytest.mark.slow)])
def test_a_killed_head_goes_on_to_the_same_end(
    stage: str, whitened: Path, toy: Path, tmp_path: Path
):
    folder = tmp_path / "killed"
    kill_when(
        lambda: epochs_of(folder, stage) >= 2,
        "train",
        *[*TOY, *WHITENED, f"data.file={toy}", f"hydra.run.dir={folder}"],
        cache=toy.parent,
        cwd=tmp_path,
    )
    assert not (folder / "DONE").exists()
    resumed = run_here("train", f"resume={folder}", cache=toy.parent, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(folder, whitened)


def test_a_whitened_head_goes_on_from_the_discriminant_by_the_dual_loss(
    whitened: Path, toy: Path, tmp_path: Path
):
    closed = train(tmp_path / "closed", toy, "head=discriminant")
    history = [row for row in rows(whitened / "history.csv") if row["stage"] == "head"]
    (start,) = rows(closed / "history.csv")
    losses = [float(row["train_loss"]) for row in history]
    # A mean over the steps of an epoch, the first of which is at the discriminant.
    assert losses[0] == pytest.approx(float(start["train_loss"]), rel=0.005)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.97 * losses[0]
    other = train(tmp_path / "other", toy, *WHITENED, "loss.lambda_bce=4")
    terms = [float(rows(run / "history.csv")[-1]["train_bce"]) for run in (other, whitened)]
    assert terms[0] < terms[1]


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        pytest.param([], stop_when, id="stops"),
        pytest.param([], kill_when, marks=pytest.mark.slow, id="kills"),
        pytest.param(
            ["model.backbone.name=resnet18"], kill_when, marks=pytest.mark.slow, id="resnet18"
        ),
    ],
)
def test_kills_in_every_stage_leave_an_uninterrupted_run(
    changes: list[str], end: Callable[..., None], fine: Path, cache: Path, tmp_path: Path
):
    where: dict[str, Path] = {"cache": cache, "cwd": tmp_path}
    whole, settings = fine, [*FINE, *changes]
    if changes:
        whole = tmp_path / "whole"
        done = run("train", *settings, f"hydra.run.dir={whole}", **where)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "killed"
    words = [*settings, f"hydra.run.dir={folder}"]
    for stage, epochs in (("head", 3), ("finetune", 2), ("refit", 1)):
        reached = partial(reaches, folder, stage, epochs)
        end(reached, "train", *words, **where)
        assert not (folder / "DONE").exists()
        folder = folder.rename(tmp_path / stage)  # as to a larger disk
        words = [f"resume={folder}"]
    resumed = (run_here if end is stop_when else run)("train", *words, **where)
    assert resumed.returncode == 0, resumed.stderr
    assert (folder / "DONE").is_file()
    assert_same(folder, whole)


def reaches(run: Path, stage: str, epochs: int) -> bool:
    return epochs_of(run, stage) >= epochs


def assert_same(run: Path, other: Path) -> None:
    names = ("metrics.json", "history.csv", "split.csv", "predictions/val.csv")
    for name in (*names, "predictions/test.csv"):
        assert (run / name).read_text() == (other / name).read_text(), name
