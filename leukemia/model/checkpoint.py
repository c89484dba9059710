"""Checkpoints that are whole or absent, and no more of them than a run needs."""

import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_utilities.core.apply_func import apply_to_collection
from torch import nn

from leukemia.errors import UserError

WEIGHTS: Mapping[str, type] = {"state_dict": dict}
"""What every checkpoint holds."""

PROGRESS: Mapping[str, type] = {
    **WEIGHTS,
    "callbacks": dict,
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""What a checkpoint to go on from holds beside."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside and renames, so that a kill leaves the old checkpoint or the new one.

    ``best.ckpt`` waits in memory for the next ``last.ckpt``: where an epoch is faster than the
    disk, the best weights so far can change with every epoch.
    """

    def __init__(self) -> None:
        """Start with nothing that waits."""
        super().__init__()
        self.waiting: dict[Path, dict[str, Any]] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Write the checkpoint, and what waits."""
        if Path(path).name == "best.ckpt":
            self.waiting[Path(path)] = apply_to_collection(
                checkpoint, torch.Tensor, lambda value: value.detach().to("cpu", copy=True)
            )
            return
        # First: a kill between the two repeats epochs and finds the same best weights again.
        self.flush()
        save_atomically(checkpoint, Path(path))

    def flush(self) -> None:
        """Write what waits."""
        for path, content in self.waiting.items():
            save_atomically(content, path)
        self.waiting.clear()


class _Movable(ModelCheckpoint):
    """Goes on in a run directory that was moved, where Lightning's own forgets the best figure."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state back, with this folder in its paths."""
        models = state_dict["best_k_models"]
        moved = {
            "dirpath": self.dirpath,
            "best_k_models": {self._here(path): score for path, score in models.items()},
            "best_model_path": self._here(state_dict["best_model_path"]),
            "kth_best_model_path": self._here(state_dict["kth_best_model_path"]),
        }
        super().load_state_dict({**state_dict, **moved})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


class BestCheckpoint(_Movable):
    """Keeps the weights of the best epoch.

    Args:
        folder: where ``best.ckpt`` goes.
        monitor: the figure that chooses.
        mode: ``min`` or ``max``.
        weights_only: leave out the state of the optimizer.
    """

    def __init__(self, folder: Path, monitor: str, mode: str, *, weights_only: bool) -> None:
        """Hand on the settings."""
        super().__init__(
            folder,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_weights_only=weights_only,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )


class LastCheckpoint(_Movable):
    """Keeps the state to resume from, at the end of an epoch when it is time.

    Args:
        folder: where ``last.ckpt`` goes.
        seconds: at least so much between two of them; 0 for one every epoch.
        final: keep the state after the last epoch too, whatever the time.
    """

    def __init__(self, folder: Path, seconds: float, *, final: bool) -> None:
        """Start the clock."""
        super().__init__(
            folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        )
        self.seconds, self.final, self.saved = seconds, final, time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, or wait for a later epoch."""
        over = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if (over and self.final) or time.monotonic() - self.saved >= self.seconds:
            super().on_train_epoch_end(trainer, pl_module)
            self.saved = time.monotonic()


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values to ``path`` with torch's format.

    Raises:
        OSError: it cannot be written; nothing is left of it, and an older file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    try:
        # Through a file of Python's, which says why it cannot be written: torch's own does not.
        with beside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        fault = error if isinstance(error, OSError) else error.__context__
        if isinstance(fault, OSError) and fault.errno is not None:
            raise OSError(fault.errno, fault.strerror, str(path)) from error
        raise


def load_checkpoint(
    path: Path, remedy: str, wanted: Mapping[str, type] = WEIGHTS
) -> dict[str, Any]:
    """Read a checkpoint that is whole: to the last byte what was written.

    Its zip archive holds a CRC of each part, which torch writes and does not look at: here they
    are verified, 0.03 s for the 45 MB of a ResNet18. No more than tensors and plain values is
    unpickled.

    Args:
        path: of the file.
        remedy: what to do about a bad one, a sentence.
        wanted: keys that it must have, and the types of their values.

    Returns:
        Its content, on the CPU; under ``state_dict`` are tensors by name, none with numbers that
        are not finite.

    Raises:
        UserError: there is no such file, or it is not whole, or another one.
    """
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        for key, kind in wanted.items():
            found = content.get(key) if isinstance(content, dict) else content
            if not isinstance(content, dict) or not isinstance(found, kind):
                raise ValueError(f"it holds {_said(found)} in the place of {key}")
        for name, value in content["state_dict"].items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                raise ValueError(f"it holds {_said(value)} in the place of the weights {name!r}")
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"the weights {name} are not finite numbers")
    # A broken file raises anything from KeyError to UnpicklingError.
    except Exception as error:
        raise UserError(
            f"The checkpoint '{path}' cannot be used: {_reason(error)}. {remedy}"
        ) from error
    return dict(content)


def load_into(
    module: nn.Module, state: Mapping[str, torch.Tensor], path: Path, remedy: str
) -> None:
    """Load weights into the network that they must be of.

    Raises:
        UserError: they are of another.
    """
    check_fits(module, state, path, remedy)
    module.load_state_dict(state)


def check_fits(
    module: nn.Module, state: Mapping[str, torch.Tensor], path: Path, remedy: str
) -> None:
    """Refuse weights of another network.

    Raises:
        UserError: names or shapes are not those of the module.
    """
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in state.items()}
    other = next((name for name in {**own, **there} if own.get(name) != there.get(name)), None)
    if other is not None:
        raise UserError(
            f"The checkpoint '{path}' cannot be used: it is of another network, whose {other} is "
            f"{there.get(other, 'absent')} there and {own.get(other, 'absent')} here. {remedy}"
        )


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # torch compresses nothing: what is compressed here could grow beyond all memory.
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is no file of torch.save")
        if bad := archive.testzip():
            raise ValueError(f"its part {bad} is damaged")


def _said(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
