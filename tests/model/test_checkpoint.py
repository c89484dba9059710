"""What a run directory remembers of its best epoch."""

from pathlib import Path

import lightning as L
import pytest
import torch

from leukemia.model.checkpoint import BestCheckpoint


def best_of(folder: Path) -> BestCheckpoint:
    return BestCheckpoint(folder / "checkpoints", "val_nll", "min", weights_only=True)


@pytest.mark.filterwarnings("error:The dirpath has changed")
def test_a_run_directory_that_was_moved_remembers_its_best_epoch(tmp_path: Path):
    old, new = best_of(tmp_path / "old"), best_of(tmp_path / "new")
    path = str(tmp_path / "old" / "checkpoints" / "best.ckpt")
    old.best_model_score = old.kth_value = torch.tensor(0.25)
    old.best_model_path = old.kth_best_model_path = path
    old.best_k_models = {path: torch.tensor(0.25)}
    new.load_state_dict(old.state_dict())
    here = str(tmp_path / "new" / "checkpoints" / "best.ckpt")
    assert new.best_model_score == 0.25
    assert new.best_model_path == new.kth_best_model_path == here
    assert new.best_k_models == {here: 0.25}
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    assert not new.check_monitor_top_k(trainer, torch.tensor(0.3))
    assert new.check_monitor_top_k(trainer, torch.tensor(0.2))


def test_a_run_without_a_best_epoch_yet_has_none_after_it_was_moved(tmp_path: Path):
    new = best_of(tmp_path / "new")
    new.load_state_dict(best_of(tmp_path / "old").state_dict())
    assert new.best_model_path == ""
    assert new.best_model_score is None
