"""Lightning's callbacks of a training: the progress bar, and checkpoints written whole."""

import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning_utilities.core.apply_func import apply_to_collection
from tqdm import tqdm

TOLD = ("train_loss", "val_nll", "val_accuracy")  # figures, beside a bar


class Bar(Callback):
    """A bar of tqdm, as every verb shows one; none where stderr is no terminal.

    Args:
        stage: what is trained.
    """

    def __init__(self, stage: str = "training") -> None:
        """Show nothing yet."""
        self.stage = stage
        self.bar: tqdm | None = None

    def _open(self, what: str, total: float, done: int = 0) -> None:
        self.bar = tqdm(
            desc=what, total=int(total), initial=done, leave=False, disable=None, unit="batch"
        )

    def _step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the batches of all epochs."""
        self._open(self.stage, trainer.estimated_stepping_batches, trainer.global_step)

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        self._step()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say which epoch ended, and what it measured."""
        if self.bar is not None:
            told = {k: float(v) for k, v in trainer.callback_metrics.items() if k in TOLD}
            self.bar.set_postfix(epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}", **told)

    def on_train_end(self, *_: Any) -> None:
        """Remove the bar."""
        self._close()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the batches to predict."""
        self._open("predicting", sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        self._step()

    def on_predict_end(self, *_: Any) -> None:
        """Remove the bar."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Remove the bar, so that what went wrong stands on a line of its own."""
        self._close()


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
