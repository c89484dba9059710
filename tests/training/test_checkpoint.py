"""What a run directory remembers of its best epoch."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from leukemia.errors import UserError
from leukemia.models.weights import load_checkpoint, load_into
from leukemia.training.callbacks import BestCheckpoint


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


REMEDY = "Do this."
WHOLE = {"state_dict": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}}


def written(path: Path, content: object) -> bytes:
    torch.save(content, path)
    return path.read_bytes()


def flipped(data: bytes) -> bytes:
    """One bit of the weights is another."""
    at = data.index(WHOLE["state_dict"]["weight"].numpy().tobytes()) + 5
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def compressed(path: Path) -> None:
    """An archive that would grow."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("best/data.pkl", b"\0" * 1000)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b""), "not a zip file"),
        (lambda path: path.write_bytes(b"\0" * 1000), "not a zip file"),
        (lambda path: path.write_bytes(written(path, WHOLE)[:-200]), "not a zip file"),
        (lambda path: path.write_bytes(flipped(written(path, WHOLE))), "is damaged"),
        (lambda path: torch.save([1, 2], path), "one list in the place of state_dict"),
        (lambda path: torch.save(5, path), "one int in the place of state_dict"),
        (lambda path: torch.save({}, path), "nothing in the place of state_dict"),
        (lambda path: torch.save({"state_dict": [1]}, path), "one list in the place of state_dict"),
        (lambda path: torch.save({"state_dict": {"a": 1}}, path), "one int in the place of"),
        (
            lambda path: torch.save({"state_dict": {"a": torch.tensor([1.0, np.nan])}}, path),
            "the weights a are not finite",
        ),
        (lambda path: torch.save({"state_dict": Path()}, path), "Weights only load failed"),
        (lambda path: compressed(path), "no file of torch.save"),
        (lambda path: path.mkdir(), "directory"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_one_line(
    tmp_path: Path, damage: Callable[[Path], object], reason: str
):
    path = tmp_path / "best.ckpt"
    damage(path)
    with pytest.raises(UserError, match=reason) as caught:
        load_checkpoint(path, REMEDY)
    assert str(caught.value).startswith(f"The checkpoint '{path}' cannot be used: ")
    assert str(caught.value).endswith(REMEDY)


def test_a_whole_checkpoint_is_what_was_saved(tmp_path: Path):
    torch.save({**WHOLE, "epoch": 3}, tmp_path / "best.ckpt")
    found = load_checkpoint(tmp_path / "best.ckpt", REMEDY, {"state_dict": dict, "epoch": int})
    assert found["epoch"] == 3
    assert torch.equal(found["state_dict"]["weight"], WHOLE["state_dict"]["weight"])


@pytest.mark.parametrize("layer", [torch.nn.Linear(3, 4), torch.nn.Linear(3, 2, bias=False)])
def test_weights_of_another_network_are_refused(layer: torch.nn.Module, tmp_path: Path):
    with pytest.raises(UserError, match=r"of another network, whose (weight|bias) is.*Do this\."):
        load_into(layer, WHOLE["state_dict"], tmp_path / "best.ckpt", REMEDY)
