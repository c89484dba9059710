"""`model=resnet18`: what fine-tuning leaves as it was, and what it may change."""

import json
from pathlib import Path

import pytest
import torch

from tests.commands import rows, run_here

SETTINGS = [
    "model=resnet18",
    "data=synthetic",
    "data.per_class=8",
    "crop.size=64",
    "model.backbone.weights=null",
    "model.backbone.resize=null",
    "model.head.widths=[16,8]",
    "stage.head.epochs=2",
    # Whatever validation says: so that all stages are seen.
    "stage.finetune.blend=[0.25]",
    "stage.finetune.optimizer.lr=0.01",
    "runtime.eval_batch_size=8",
    "runtime.progress=false",
    "trainer.precision=32-true",
    "runtime.threads=1",
    "report.map=null",
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    done = run_here("train", *SETTINGS, f"hydra.run.dir={folder / 'run'}", cache=folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(
        run / "checkpoints" / f"{stage}.ckpt", weights_only=True
    )["state_dict"]
    return state


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Which parts of the network have other weights."""
    parts = [("layer4" if "layer4" in k else ".".join(k.split(".")[:2]), k) for k in after]
    return {part for part, key in parts if not torch.equal(before[key], after[key])}


def test_every_stage_is_fitted_and_then_again_on_both_parts(asked: Path):
    stages = list(dict.fromkeys(row["stage"] for row in rows(asked / "history.csv")))
    assert stages == ["head", "finetune", "head_refit", "refit"]


@pytest.mark.parametrize(("before", "after"), [("head", "finetune"), ("head_refit", "refit")])
def test_fine_tuning_changes_layer4_and_the_residual_classifier_alone(
    asked: Path, before: str, after: str
):
    found = changed(weights(asked, before), weights(asked, after))
    assert found == {"layer4", "head.residual"}


def test_the_norms_of_layer4_keep_their_statistics(asked: Path):
    before, after = weights(asked, "head"), weights(asked, "finetune")
    kept = [key for key in before if "layer4" in key and "running" in key]
    assert len(kept) == 10
    assert all(torch.equal(before[key], after[key]) for key in kept)


def test_the_share_is_told(asked: Path):
    assert json.loads((asked / "blend_finetune.json").read_text())["share"] == 0.25


def test_the_run_judges_with_the_weights_of_the_refit(asked: Path):
    kept = torch.load(asked / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert changed(weights(asked, "refit"), kept) == set()


def test_where_nothing_of_the_fine_tuning_is_kept_it_is_not_done_again(tmp_path: Path):
    changes = ["stage.finetune.blend=[0]", f"hydra.run.dir={tmp_path / 'run'}"]
    done = run_here("train", *SETTINGS, *changes, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stages = {row["stage"] for row in rows(tmp_path / "run" / "history.csv")}
    assert stages == {"head", "finetune", "head_refit"}
    kept = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert changed(weights(tmp_path / "run", "head_refit"), kept["state_dict"]) == set()
