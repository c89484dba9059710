"""`python -m leukemia.train`, from outside: commands in, files and numbers out."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn import metrics as reference
from torch import nn
from torch.optim import SGD

from leukemia.cli import CONF
from leukemia.compose.network import build_schedule
from leukemia.data.files.images import read_image
from leukemia.runs.finished import open_finished
from leukemia.settings.settled import settle
from tests.commands import CLASSES, SMALL, painted, rows, run_here, write_toy


def test_a_run_leaves_every_file_of_the_contract(finished: Path):
    present = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()}
    assert present >= {
        "config.yaml",
        "environment.json",
        "split.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "history.csv",
        "predictions/val.csv",
        "predictions/test.csv",
        "metrics.json",
        "report.html",
        "MODEL_CARD.md",
        "DONE",
    }
    for name in ("best", "last"):
        torch.load(finished / "checkpoints" / f"{name}.ckpt", weights_only=True)
    cfg = OmegaConf.load(finished / "config.yaml")
    assert cfg.stage.finetune.epochs == 4
    assert "${" not in (finished / "config.yaml").read_text()
    assert list(rows(finished / "split.csv")[0]) == ["file", "sha256", "label", "group", "part"]
    assert {row["part"] for row in rows(finished / "split.csv")} == {"train", "val", "test"}
    history = rows(finished / "history.csv")
    assert [row["stage"] for row in history] == ["head"] * 8 + ["finetune"] * 4
    assert [row["epoch"] for row in history] == [*map(str, range(8)), *map(str, range(4))]
    assert json.loads((finished / "environment.json").read_text())["seed"] == 0


def test_the_report_shows_what_the_run_knows(finished: Path):
    page = (finished / "report.html").read_text(encoding="utf-8")
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert {"Data", "Embeddings", "Operating point", "Decision curve", "Referral"} <= set(headings)
    metrics = json.loads((finished / "metrics.json").read_text())
    mistakes = {
        part: found["n"] - sum(found["confusion"][i][i] for i in range(4))
        for part, found in metrics.items()
    }
    for part, n in mistakes.items():
        assert f"{part}: {n} of {n} mistakes" in page
    assert page.count('class="views"') == sum(mistakes.values()) > 0
    card = (finished / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "PAINTED smears" in card
    sizes = Counter(row["part"] for row in rows(finished / "split.csv"))
    for part, n in sizes.items():
        assert re.search(rf"^\| {part} \|.* {n} \|$", card, re.M)


def test_figures_agree_with_scikit_learn_on_the_predictions_file(finished: Path):
    found = json.loads((finished / "metrics.json").read_text())["test"]
    table = rows(finished / "predictions" / "test.csv")
    truth = np.array([CLASSES.index(row["label"]) for row in table])
    p = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in table])
    decided = p.argmax(1)
    assert [row["prediction"] for row in table] == [CLASSES[i] for i in decided]
    p_cancer = np.array([float(row["p_cancer"]) for row in table])
    np.testing.assert_allclose(p_cancer, 1 - p[:, 0], atol=1e-9)
    expected = {
        "accuracy": reference.accuracy_score(truth, decided),
        "macro_f1": reference.f1_score(truth, decided, average="macro", zero_division=0),
        "cancer_recall": reference.recall_score(truth > 0, decided > 0),
        "cancer_specificity": reference.recall_score(truth > 0, decided > 0, pos_label=False),
        "roc_auc": reference.roc_auc_score(truth > 0, p_cancer),
        "average_precision": reference.average_precision_score(truth > 0, p_cancer),
        "nll": reference.log_loss(truth, p, labels=range(4)),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert found["n"] == len(table)
    assert found["confusion"] == reference.confusion_matrix(truth, decided).tolist()


def test_paths_of_a_run_hold_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    given = {"model.backbone.weights": "w.pth", "data.root": "images", "data.groups": "g.csv"}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["data=folder", *(f"{k}={v}" for k, v in given.items())])
        settle(cfg, multirun=False)
        default = compose("train", ["model.backbone.weights=DEFAULT"])
        settle(default, multirun=False)
    for key, value in given.items():
        assert OmegaConf.select(cfg, key) == str(tmp_path / value)
    assert default.model.backbone.weights == "DEFAULT"


def test_a_stage_may_have_a_schedule_of_its_own():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train",
            ["schedule=cosine", "+schedule@stage.finetune.schedule=constant"],
        )
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = {}
    for stage in ("head", "finetune"):
        scheduler = build_schedule(cfg, stage)(optimizer, 10)
        rates[stage] = scheduler.lr_lambdas[0](10)
    assert rates == {"head": pytest.approx(0.01), "finetune": 1.0}


def test_unreadable_files_stop_a_run_or_are_left_out_and_listed(
    finished: Path, cache: Path, tmp_path: Path
):
    images, folder = tmp_path / "images", tmp_path / "run"
    shutil.copytree(painted(cache), images)
    (images / "Pre" / "empty.jpg").write_bytes(b"")
    (images / "Pro" / "text.jpg").write_text("no image")
    settings = [*SMALL[2:], "data=folder", f"data.root={images}", "trainer.max_epochs=1"]
    stopped = run_here("train", *settings, f"hydra.run.dir={folder}", cache=cache, cwd=tmp_path)
    assert stopped.returncode == 2
    assert "Pre/empty.jpg" in stopped.stderr
    assert "Pro/text.jpg" in stopped.stderr
    assert not folder.exists()
    skipped = run_here(
        "train", *settings, "data.on_bad=skip", f"hydra.run.dir={folder}", cache=cache, cwd=tmp_path
    )
    assert skipped.returncode == 0, skipped.stderr
    assert [row["file"] for row in rows(folder / "skipped.csv")] == [
        "Pre/empty.jpg",
        "Pro/text.jpg",
    ]
    assert "2 unreadable files" in skipped.stdout


def test_trials_of_a_multirun_never_open_the_test_part(cache: Path, tmp_path: Path):
    write_toy(tmp_path / "toy.npz")
    done = run_here(
        "train",
        "-m",
        *("data=embeddings", f"data.file={tmp_path / 'toy.npz'}", "split=stratified"),
        "trainer.max_epochs=1",
        "seed=0,1",
        f"hydra.sweep.dir={tmp_path}/sweep",
        cache=cache,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for trial in ("0", "1"):
        folder = tmp_path / "sweep" / trial
        assert list(json.loads((folder / "metrics.json").read_text())) == ["val"]
        assert not (folder / "predictions" / "test.csv").exists()
        assert (folder / "DONE").is_file()


def test_the_baseline_trains_on_painted_smears(cache: Path, tmp_path: Path):
    done = run_here(
        "train",
        "model=baseline",
        "data=synthetic",
        "data.per_class=10",
        "trainer.max_epochs=1",
        "stage.finetune.refit=true",  # whose network is another, with the same colours
        "runtime.progress=false",
        f"hydra.run.dir={tmp_path}/run",
        cache=cache,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    run = open_finished(tmp_path / "run")
    learnt = [row["file"] for row in rows(run.run.split) if row["part"] == "train"]
    folder = next(cache.glob("synthetic-10-*"))
    images = [read_image(folder / file) for file in learnt]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    normalize = run.network.normalize
    np.testing.assert_allclose(normalize.mean.flatten(), pixels.mean(0), atol=1e-5)
    np.testing.assert_allclose(normalize.std.flatten(), pixels.std(0), atol=1e-5)


def test_help_and_configs_do_not_import_torch(tmp_path: Path):
    for flags in (["--help"], ["--cfg", "job"]):
        code = (
            "import sys; from leukemia import train; sys.argv[1:] = " + repr(flags) + "\n"
            "try: train.main()\n"
            "finally: print('torch' in sys.modules, 'lightning' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "False False"


MISTAKES = {
    "no data": (["data=aria"], "Kaggle 'mehradaria/leukemia'"),
    "absent folder": (["data.root=nowhere"], "nowhere"),
    "unknown setting": (["trainer.max_epoch=3"], "trainer.max_epochs"),
    "unknown model": (["model=resnet19"], "model/resnet19"),
    "unknown backbone": ([*SMALL, "model.backbone.name=resnet19"], "model.backbone.name"),
    "no weights file": ([*SMALL, "model.backbone.weights=nowhere.pth"], "nowhere.pth"),
    "negative lambda": ([*SMALL, "loss.lambda_nll=-1"], "loss.lambda_nll"),
    "lambda no number": ([*SMALL, "loss.lambda_bce=much"], "loss.lambda_bce"),
    "unknown stage": ([*SMALL, "stages=[tail]"], "stages"),
    "refit of a head that goes on": ([*SMALL, "stage.head.refit=true"], "stage.head.refit=false"),
    "refit in words": ([*SMALL, "stage.head.refit=both"], "stage.head.refit to be true or false"),
    "refit by number": ([*SMALL, "stage.finetune.refit=2"], "stage.finetune.refit to be true or"),
    "no monitor": ([*SMALL, "stage.head.monitor=null"], "stage.head.monitor to be one of nll"),
    "no epochs": ([*SMALL, "trainer.max_epochs=0"], "trainer.max_epochs"),
    "epochs in words": ([*SMALL, "stage.finetune.epochs=ten"], "stage.finetune.epochs"),
    "patience in words": ([*SMALL, "stage.finetune.patience=some"], "stage.finetune.patience"),
    "no batch": ([*SMALL, "runtime.eval_batch_size=0"], "runtime.eval_batch_size"),
    "a batch of one": ([*SMALL, "stage.head.batch_size=1"], "stage.head.batch_size"),
    "negative rate": ([*SMALL, "stage.finetune.optimizer.lr=-1"], "optimizer.lr"),
    "one class weight": ([*SMALL, "loss.class_weights=2"], "loss.class_weights"),
    "negative threads": ([*SMALL, "runtime.threads=-1"], "runtime.threads"),
    "negative seed": ([*SMALL, "seed=-1"], "seed to be a whole number"),
    "seed in words": ([*SMALL, "seed=first"], "got 'first'"),
    "workers in words": ([*SMALL, "runtime.num_workers=two"], "runtime.num_workers"),
    "several devices": ([*SMALL, "trainer.devices=2"], "launcher=local"),
    "no such device": ([*SMALL, "trainer.accelerator=mps"], "auto, cpu, gpu, cuda"),
    "folder of a number": (["data=folder", "data.root=2024"], "2024"),
    "precision": ([*SMALL, "trainer.precision=8"], "trainer.precision"),
    "precision of a GPU": ([*SMALL, "trainer.precision=16-mixed"], "bf16-mixed"),
    "paper split of other files": ([*SMALL, "split=paper"], "split=stratified"),
    "resume nothing": (["resume=nowhere"], "nowhere"),
    "unknown map": ([*SMALL, "report.map=pca"], "report.map"),
    "embeddings without file": (["data=embeddings"], "data.file"),
    "baseline size": (["data=synthetic", "model=baseline", "crop.size=64"], "crop.size=224"),
    "baseline head": (["data=synthetic", "model=baseline", "stages=[head]"], "stages=[finetune]"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(name: str, cache: Path, tmp_path: Path):
    overrides, told = MISTAKES[name]
    done = run_here("train", *overrides, cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert told in lines[0]
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.slow
def test_a_head_on_published_embeddings_reaches_the_svm(
    published: Path, cache: Path, tmp_path: Path
):
    done = run_here(
        "train",
        "data=embeddings",
        f"data.file={published / 'resnet18_embeddings.npz'}",
        "runtime.progress=false",
        f"hydra.run.dir={tmp_path}/run",
        cache=cache,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert found["n"] == 400
    assert found["accuracy"] >= 0.93
