"""Another person's classes, in a folder of their own, by `--config-dir` and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import QUIET, SMALL, run_here

OUTSIDE = Path(__file__).parent / "outside"
SHORT = [f"--config-dir={OUTSIDE / 'conf'}", *SMALL, "stages=[finetune]", "stage.finetune.epochs=2"]
BROUGHT = {
    "a network of timm": ["model=timm_resnet", "head=linear"],
    "a LightningModule": ["model=tiny", "stage.finetune.ema_decay=null"],
    "a data module": ["data=discs", "model=timm_resnet", "head=linear", "crop.size=32"],
    "a loss": ["loss=focal"],
    "a head": ["head=cosine", "stages=[head,finetune]", "stage.head.epochs=2"],
    "a callback": ["callbacks=notes"],
    "a logger": ["logger=lines", "callbacks=notes"],
}
SHUFFLENET = ("experiment=finetuned", "model.backbone.name=shufflenet_v2_x0_5")


def trained(what: str, cwd: Path, monkeypatch: pytest.MonkeyPatch):
    if what in ("a network of timm", "a data module"):
        pytest.importorskip("timm")
    monkeypatch.syspath_prepend(str(OUTSIDE))
    words = [*SHORT, *BROUGHT[what], "hydra.run.dir=run"]
    if any(word.startswith("model=") for word in words):  # one that has no such settings
        kept = ("model.backbone.", "experiment=")
        words = [word for word in words if not word.startswith(kept)]
    if what == "a data module":
        words = [word for word in words if not word.startswith(("data=synth", "data.per", "mask="))]
    return run_here("train", *words, cache=cwd / "cache", cwd=cwd)


@pytest.mark.parametrize(
    "what",
    [
        # One that logs needs a callback too: the others take half a minute together.
        pytest.param(what, marks=pytest.mark.slow) if what in ("a callback", "a loss") else what
        for what in BROUGHT
    ],
)
def test_what_others_bring_trains_and_its_run_evaluates_predicts_and_reports(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done = trained(what, tmp_path, monkeypatch)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert {"DONE", "report.html", "MODEL_CARD.md"} <= {path.name for path in run.iterdir()}
    own = json.loads((run / "metrics.json").read_text())["test"]
    more = {"cache": tmp_path / "cache", "cwd": tmp_path}
    foreign = "mine." in (run / "config.yaml").read_text() or "timm" in what or "data" in what
    if foreign:
        refused = run_here("evaluate", "run=run", QUIET, **more)
        assert refused.returncode == 2
        assert "trust=true" in refused.stderr
    words = ["run=run", "trust=true", QUIET]
    again = run_here("evaluate", *words, "evaluate.explain=false", **more)
    assert again.returncode == 0, again.stderr
    scored = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())["test"]
    assert scored["confusion"] == own["confusion"]
    folders = [*(tmp_path / "cache").glob("synthetic-*/*/")]
    folders += [*(tmp_path / "cache").glob("loaded-*/*/")]
    images = folders[0]
    said = run_here("predict", *words, f"input={images}", "output=out.csv", **more)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "out.csv").read_text().count("\n") > 8
    if what in ("a callback", "a logger"):
        assert (tmp_path / "notes.txt").read_text().split() == ["0", "1"]
    if what == "a logger":
        assert "noted" in (run / "lines.txt").read_text()
    shutil.rmtree(run)


def test_a_setting_that_a_brought_class_does_not_have_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(OUTSIDE))
    words = [*SHORT, "loss=focal", "+loss.gama=3"]
    done = run_here("train", *words, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean loss.gamma?" in done.stderr
    assert done.stderr.count("\n") == 1
    words = [*SHORT, "+callbacks.mine={_target_: nowhere.Callback}"]
    done = run_here("train", *words, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "callbacks.mine._target_=nowhere.Callback cannot be imported" in done.stderr
