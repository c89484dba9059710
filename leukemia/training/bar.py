"""The progress bar of a training, and of prediction."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
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
