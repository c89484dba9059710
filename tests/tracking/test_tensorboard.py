"""Runs tracked by TensorBoard, read back by TensorBoard's own reader."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions
from leukemia.runs.directory import RunDir
from leukemia.tracking import loggers
from leukemia.tracking.loggers import check_loggers, make_trackers
from tests.tracking.process import rows, settings


def test_a_missing_tensorboard_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'leukemia\[tensorboard\]'"):
        check_loggers(settings(wandb=False, tensorboard=True))
    assert importlib.util.find_spec("os")  # the patch is on loggers alone


def test_curves_go_on_over_a_resume_and_figures_stand_at_the_last_epoch(tmp_path: Path):
    pytest.importorskip("tensorboard", reason="the extra leukemia[tensorboard] is missing")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, cfg = RunDir(tmp_path / "run"), settings(wandb=False, tensorboard=True)
    with make_trackers(cfg, run) as trackers:
        trackers.log(rows(2))
    table = Predictions(("a", "b"), np.array([0, 1]), np.full((2, 4), 0.25), Classes())
    data = SimpleNamespace(array=None, parts={}, embed_dim=8)
    with make_trackers(cfg, run) as trackers:
        trackers.log(rows(4))
        trackers.conclude({"val": summarize(table)}, {"val": table}, data)
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    curve = [(event.step, event.value) for event in found.Scalars("curves/val_loss")]
    assert curve == [(i + 1, pytest.approx(row["val_loss"])) for i, row in enumerate(rows(4))]
    (accuracy,) = found.Scalars("val/accuracy")
    assert (accuracy.step, accuracy.value) == (4, 0.5)
    assert set(found.Tags()["images"]) == {"val/confusion", "val/roc_and_pr"}
    assert "config/text_summary" in found.Tags()["tensors"]
