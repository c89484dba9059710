"""A study's W&B dashboard: its description, the library's object, and the verb, all offline."""

import json
import sys
from pathlib import Path

import pytest

from leukemia.errors import UserError
from leukemia.study.dashboard import describe, workspace
from leukemia.study.record import write_record
from tests.commands import run_here, seal

FIGURE = {"accuracy": 0.5, "macro_f1": 0.5, "cancer_recall": 0.5, "cancer_specificity": 0.5}
FIGURE |= {"n": 4, "roc_auc": 0.5, "average_precision": 0.5, "brier": 1.0, "ece": 0.1}
FIGURE |= {"interval": {}}
CONFIG = """
seed: 0
model: {name: resnet18, head: {_target_: leukemia.models.head.LinearHead}}
loss: {_target_: leukemia.models.loss.DualLoss, lambda_bce: 1.0}
logger: {wandb: {group: null}}
"""
OTHERS = (
    "data",
    "split",
    "stain",
    "mask",
    "crop",
    "augment",
    "stage",
    "schedule",
    "trainer",
    "runtime",
)
CONFIG += "".join(f"{name}: {{}}\n" for name in (*OTHERS, "report"))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A study whose first trial is done and whose second waits."""
    folder = tmp_path / "grid"
    trial = folder / "0"
    trial.mkdir(parents=True)
    (trial / "config.yaml").write_text(CONFIG)
    (trial / "metrics.json").write_text(json.dumps({"val": {**FIGURE, "nll": 1.0}}))
    (trial / "environment.json").write_text('{"wall_seconds": 1.0}')
    seal(trial)
    record = {
        "name": "grid",
        "metric": "cancer_recall",
        "direction": "max",
        "tie_break": ["nll"],
        "chart": "bars",
        "trials": [
            {"seed": "0", "model": "resnet18", "head": "linear", "loss.lambda_bce": value}
            for value in ("1", "2")
        ],
    }
    write_record(folder, record)
    return folder


def test_a_description_compares_every_setting_but_the_seed_by_the_rule():
    spec = describe("grid", ["seed", "loss.lambda_bce"], metric="nll")
    assert spec["group"] == "grid"
    assert spec["settings"] == ["seed", "loss.lambda_bce"]
    assert spec["figures"][:2] == ["val/nll", "val/cancer_recall"]
    assert spec["ascending"] is True
    choice, by, mistakes = spec["sections"]
    assert choice["panels"][0] == {
        "kind": "parallel",
        "settings": ["seed", "loss.lambda_bce"],
        "figure": "val/nll",
    }
    assert by["name"] == "By loss.lambda_bce"
    assert {"kind": "bar", "figure": "val/nll", "by": "loss.lambda_bce"} in by["panels"]
    lines = [panel for panel in by["panels"] if panel["kind"] == "line"]
    assert {panel["x"] for panel in lines} == {"curves/epoch"}
    assert "curves/val_cancer_recall" in {panel["y"] for panel in lines}
    assert mistakes["panels"] == [{"kind": "table", "table": "val/mistakes"}]
    assert describe("grid", ["seed"])["sections"][1]["name"] == "By seed"


def test_a_description_without_settings_or_of_no_figure_is_refused():
    with pytest.raises(UserError, match="varies no setting"):
        describe("grid", [])
    with pytest.raises(UserError, match="got 'up'"):
        describe("grid", ["seed"], metric="up")


def test_the_library_makes_every_panel_and_shows_the_study_s_runs_alone():
    pytest.importorskip("wandb_workspaces", reason="the extra leukemia[dashboard] is missing")
    spec = describe("grid", ["seed", "loss.lambda_bce"])
    made = workspace(spec, project="p", entity="me")._to_model()
    stored = json.loads(made.model_dump_json(by_alias=True))
    assert (stored["entity"], stored["project"]) == ("me", "p")
    view = stored["spec"]["section"]
    sections = view["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [part["name"] for part in spec["sections"]]
    for section, part in zip(sections, spec["sections"], strict=True):
        assert len(section["panels"]) == len(part["panels"]) > 0
    columns = sections[0]["panels"][0]["config"]["columns"]
    assert [column["accessor"] for column in columns] == [
        "config:seed.value",
        "config:loss.value.lambda_bce",
        "summary:val/macro_f1",
    ]
    assert '"grid"' in json.dumps(view["runSets"][0]["filters"])


def test_a_dashboard_without_its_library_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r"pip install 'leukemia\[dashboard\]'"):
        workspace(describe("grid", ["seed"]), project="p", entity="me")


def test_offline_the_verb_writes_the_description_and_says_how_to_go_on(begun: Path, tmp_path: Path):
    nobody = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_MODE": "offline"}
    done = run_here(
        "study", f"dir={begun}", "dashboard=me/p", cache=tmp_path, cwd=tmp_path, **nobody
    )
    assert done.returncode == 0, done.stderr
    assert f"dashboard {begun / 'dashboard.json'} (W&B is offline" in done.stdout
    spec = json.loads((begun / "dashboard.json").read_text())
    # Choices of groups stand under their names.
    assert spec["settings"] == ["seed", "model.name", "model.head._target_", "loss.lambda_bce"]
    assert spec["figures"][0] == "val/cancer_recall"


def test_a_dashboard_of_a_study_that_has_not_begun_is_one_line(begun: Path, tmp_path: Path):
    (begun / "0" / "DONE").unlink()
    (begun / "0" / "config.yaml").unlink()
    done = run_here("study", f"dir={begun}", "dashboard=p", cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "has begun" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_study_without_a_benign_class_shows_no_figure_of_cancer():
    spec = describe("grid", ["seed"], metric="accuracy", has_cancer=False)
    assert "cancer" not in json.dumps(spec)
    assert spec["figures"] == ["val/accuracy", "val/nll", "val/ece"]
    assert "cancer" in json.dumps(describe("grid", ["seed"], metric="accuracy"))
