"""Other people's classes and data, from a folder to a report: as a user types it."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from leukemia.classes import CANCER_FIGURES
from tests.commands import rows, run_here
from tests.foreign import (
    EIGHT,
    FIVE,
    SHORT,
    THIRTY,
    paint,
    paint_cnmc,
    paint_folders,
    paint_idb,
    paint_raabin,
)


class Lab:
    """A folder to run commands in; each must succeed unless it is told to fail."""

    def __init__(self, path: Path) -> None:
        self.path, self.cache = path, path / "cache"

    def __call__(self, verb: str, *words: str, fails: int = 0) -> str:
        words = tuple(word for word in words if word)
        more = [] if verb == "audit" or words[0].startswith("runs=") else ["runtime.progress=false"]
        done = run_here(verb, *words, *more, cache=self.cache, cwd=self.path)
        assert done.returncode == fails, done.stderr
        return done.stderr if fails else done.stdout

    def train(self, name: str, *words: str) -> Path:
        run = self.path / name
        self("train", *SHORT, *words, f"hydra.run.dir={run}")
        return run

    def use(self, run: Path, image: Path) -> dict[str, str]:
        """Evaluate a run, predict and explain an image; what was printed, by verb."""
        explained = ("explain", f"run={run}", f"input={image}", "output=maps")
        return {
            "evaluate": self("evaluate", f"run={run}"),
            "predict": self("predict", f"run={run}", f"input={image}"),
            "explain": self(*explained),
        }


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def five(lab) -> Path:
    """A run of five white cells, none of them benign."""
    root = paint_folders(lab.path / "five_cells", FIVE)
    return lab.train("five", "data=folder", f"data.root={root}")


def settings(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


def columns(table: Path) -> list[str]:
    with table.open(newline="") as file:
        return next(csv.reader(file))


def said(page: Path) -> str:
    """The words of a page, less its pictures and the dump of its settings."""
    text = re.sub(r"base64,[^\"]*", "", page.read_text())
    return re.sub(r"<pre>.*?</pre>|<style>.*?</style>", "", text, flags=re.S).lower()


def test_five_white_cells_run_from_folder_to_report_without_a_word_of_cancer(lab, five):
    assert settings(five)["data"]["classes"] == {"names": list(FIVE), "benign": None}
    assert settings(five)["loss"]["lambda_bce"] == 0
    for part in json.loads((five / "metrics.json").read_text()).values():
        assert not set(CANCER_FIGURES) & set(part)
        assert part["accuracy"] is not None
    assert json.loads((five / "calibration.json").read_text())["threshold"] is None
    assert columns(five / "predictions" / "test.csv") == [
        "file", "label", *(f"p_{name}" for name in FIVE), "prediction"
    ]  # fmt: skip
    assert columns(five / "history.csv") == [
        "stage", "epoch", "lr", "val_loss", "val_nll", "val_accuracy", "train_loss", "train_nll"
    ]  # fmt: skip
    printed = lab.use(five, lab.path / "five_cells" / "Monocyte" / "Monocyte_001.png")
    assert "Predicted" in printed["predict"]
    assert columns(lab.path / "maps" / "explain.csv")[:2] == ["file", "prediction"]
    here = five / "evaluation" / "test"
    pages = [five / "report.html", five / "MODEL_CARD.md", here / "report.html"]
    texts = [*map(said, pages), *printed.values(), (here / "metrics.json").read_text()]
    texts += [(lab.path / "maps" / "explain.csv").read_text()]
    for text in texts:
        assert "cancer" not in text
        assert "sensitivity" not in text
    assert not {path.stem for path in (here / "figures").iterdir()} & {
        "roc_pr_test", "decision_curve_test"
    }  # fmt: skip


def test_cancer_is_no_target_where_no_class_is_benign(lab, five):
    image = lab.path / "five_cells" / "Monocyte" / "Monocyte_001.png"
    words = (f"run={five}", f"input={image}", "output=maps", "target=cancer")
    told = lab("explain", *words, fails=2)
    assert f"one of predicted, {', '.join(FIVE)}, but got 'cancer'" in told


@pytest.mark.parametrize(
    "head",
    [
        "whitened",
        pytest.param("discriminant", marks=pytest.mark.slow),
        pytest.param("residual", marks=pytest.mark.slow),
    ],
)
def test_every_head_learns_classes_without_a_benign_one(lab, five, tmp_path, head):
    words = ("experiment=null", "augment=none", "stages=[head]", f"head={head}", "report.map=null")
    small = ("model.backbone.layers=null", "model.backbone.attend=null", "stage.head.epochs=2")
    root = lab.path / "five_cells"
    run = lab.train(f"head_{head}", "data=folder", f"data.root={root}", *words, *small)
    assert not [name for name in columns(run / "history.csv") if "bce" in name or "cancer" in name]
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] is not None


def test_a_run_is_opened_without_its_folders(lab, five, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(five, moved)
    image = paint(tmp_path / "new.png", 3, 999)
    assert "Predicted" in lab("predict", f"run={moved}", f"input={image}")


def test_training_images_are_found_in_folders_of_other_names(lab, five, tmp_path):
    for name in FIVE:
        shutil.copytree(lab.path / "five_cells" / name, tmp_path / "again" / f"my {name}")
    told = lab("evaluate", f"run={five}", f"data.root={tmp_path / 'again'}", fails=2)
    # All of train and val, and none of test.
    assert re.search(r"40 of 50 images are known to .* from its training", told)
    assert re.search(r"'my (\w+)/(\1_\d+\.png)' is '\1/\2' \(train\)", told)
    assert not (five / "evaluation" / "again").exists()
    fresh = paint_folders(tmp_path / "fresh", ("one", "two"), 2, file="x{i:02d}.png")
    for path in list(fresh.rglob("*.png")):
        paint(path, 1, 5000 + int(path.stem[1:]) + 100 * len(path.parent.name))
    told = lab("evaluate", f"run={five}", f"data.root={fresh}", f"output={tmp_path / 'out'}")
    assert "None of the run's classes (Basophil" in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.csv"]


def test_a_foreign_folder_is_told_what_to_set(lab, tmp_path):
    root = paint_folders(tmp_path / "data", ("healthy", "ALL"), 2)
    told = lab("train", f"data.root={root}", *SHORT, f"hydra.run.dir={tmp_path / 'run'}", fails=2)
    assert told.count("\n") == 1
    assert "data=folder" in told
    assert "'data.classes.names=[ALL,healthy]'" in told
    assert "should be called" not in told
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_classes_one_benign(lab):
    root = paint_folders(lab.path / "two_cells", ("healthy", "ALL"), 12)
    run = lab.train("two", "data=folder", f"data.root={root}", "data.classes.benign=healthy")
    assert settings(run)["data"]["classes"] == {"names": ["ALL", "healthy"], "benign": "healthy"}
    printed = lab.use(run, root / "ALL" / "ALL_001.png")
    assert "Probability of cancer" in printed["predict"]
    assert "missed cancers" in printed["evaluate"]
    for row in rows(run / "predictions" / "test.csv"):
        assert float(row["p_cancer"]) == pytest.approx(float(row["p_ALL"]))
    assert "every class but healthy is cancer" in (run / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_thirty_classes_two_of_them_benign(lab):
    root = paint_folders(lab.path / "thirty_cells", THIRTY, 5)
    benign = "data.classes.benign=[blast07,blast00]"
    run = lab.train("thirty", "data=folder", f"data.root={root}", benign)
    assert settings(run)["data"]["classes"]["names"] == sorted(THIRTY)
    printed = lab.use(run, root / "blast00" / "blast00_001.png")
    assert "the 5 most probable of 30" in printed["predict"]
    for row in rows(run / "predictions" / "test.csv"):
        benign_too = float(row["p_blast00"]) + float(row["p_blast07"])
        assert float(row["p_cancer"]) == pytest.approx(1 - benign_too, abs=1e-6)
    figures = json.loads((run / "metrics.json").read_text())["test"]
    assert set(CANCER_FIGURES) <= set(figures)
    assert len(figures["confusion"]) == 30


@pytest.mark.slow
def test_c_nmc_from_folder_to_report(lab):
    root = paint_cnmc(lab.path / "C-NMC_training_data")
    run = lab.train("cnmc", "data=cnmc", f"data.root={root}")
    person = {}
    for row in rows(run / "split.csv"):
        person.setdefault(row["file"].split("UID_")[1].split("_")[0], set()).add(row["part"])
    assert len(person) == 16
    assert all(len(parts) == 1 for parts in person.values())
    printed = lab.use(run, root / "fold_0" / "all" / "UID_3_1_1_all.bmp")
    assert "Probability of cancer" in printed["predict"]
    assert "and patients, as file names tell them" in (run / "report.html").read_text()
    assert "tcia.2019" in (run / "MODEL_CARD.md").read_text()
    lab("audit", "data=cnmc", f"data.root={root}", "output=audited")
    assert "the groups of data.groups" in (lab.path / "audited" / "audit.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("data", ["all_idb", "pbc", "raabin"])
def test_other_layouts_from_folder_to_report(lab, data):
    root = lab.path / data
    image = {
        "all_idb": lambda: paint_idb(root) / "im" / "Im001_1.jpg",
        "pbc": lambda: paint_folders(root, EIGHT, 6, file="BA_{i:06d}.jpg") / "ig/BA_000001.jpg",
        "raabin": lambda: paint_raabin(lab.path / "rb") / "Train/Monocyte/20190510_000001_0.jpg",
    }[data]()
    root = lab.path / "rb" / "Train" if data == "raabin" else root
    run = lab.train(f"run_{data}", f"data={data}", f"data.root={root}")
    printed = lab.use(run, image)
    assert ("cancer" in printed["predict"]) == (data == "all_idb")
    assert ("cancer" in said(run / "report.html")) == (data == "all_idb")
    if data == "raabin":  # two of its five classes, by another camera
        told = lab("evaluate", f"run={run}", f"data.root={lab.path / 'rb' / 'TestB'}")
        figures = json.loads((run / "evaluation" / "TestB" / "metrics.json").read_text())["TestB"]
        assert figures["recall"]["Basophil"] is None
        assert figures["n"] == 20
        assert "cancer" not in told


STUDY = ["-m", "study=seeds", "seed=0,1", "report.map=null"]
FOLDS = ["-m", "study=kfold", "split.folds=3", "split.fold=0,1,2", "report.map=null"]


def test_a_study_cannot_choose_by_cancer_where_there_is_none(lab, tmp_path):
    root = paint_folders(tmp_path / "data", FIVE, 5)
    place = f"hydra.sweep.dir={tmp_path / 's'}"
    words = (*STUDY, "data=folder", f"data.root={root}", *SHORT, place)
    told = lab("train", *words, "study.metric=cancer_recall", fails=2)
    assert "No trial will have the figure cancer_recall" in told
    told = lab("train", *words, "loss.lambda_bce=0,1", fails=2)
    assert "loss.lambda_bce weighs cancer against benign" in told


@pytest.mark.slow
def test_a_study_of_a_plain_classifier_has_tables_without_cancer(lab, tmp_path):
    root = paint_folders(tmp_path / "data", FIVE, 8)
    words = ["data=folder", f"data.root={root}", *SHORT]
    told = lab("train", *STUDY, *words, f"hydra.sweep.dir={tmp_path / 's'}")
    assert "cancer" not in told
    assert not [name for name in columns(tmp_path / "s" / "trials.csv") if "cancer" in name]
    assert "cancer" not in said(tmp_path / "s" / "report.html")
    shutil.copytree(tmp_path / "s" / "0", tmp_path / "copy")
    told = lab("evaluate", f"runs=[{tmp_path / 's' / '0'},{tmp_path / 'copy'}]", "part=val")
    assert "McNemar p (class)" in told
    assert "cancer" not in told
    told = lab("train", *FOLDS, *words, f"hydra.sweep.dir={tmp_path / 'f'}")
    assert "cancer" not in told + said(tmp_path / "f" / "report.html")
    assert not set(CANCER_FIGURES) & set(
        json.loads((tmp_path / "f/metrics.json").read_text())["pooled"]
    )
