"""One stage of training, and prediction: a fresh Lightning Trainer for each."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    TQDMProgressBar,
)
from torch.utils.data import DataLoader

from leukemia.check import check_choice, check_count, check_number
from leukemia.model.checkpoint import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from leukemia.model.classifier import Batch, Classifier
from leukemia.model.hardware import Hardware
from leukemia.model.network import Outputs

Row = dict[str, Any]
MONITORS = {"nll": "min", "accuracy": "max"}
NOISE = (
    ".*does not have many workers.*",
    ".*number of training batches.*",
    ".*Checkpoint directory.*exists and is not empty.*",
    ".*isinstance.treespec, LeafSpec.*",
)


def make_trainer(hardware: Hardware, **settings: Any) -> L.Trainer:
    """Return a Trainer that neither logs nor prints by itself."""
    # Its hardware lines, tips and advice repeat what environment.json says, or do not hold
    # here: one process is fastest on a cache in memory, a last batch may be small.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for text in NOISE:
        warnings.filterwarnings("ignore", message=text)
    on_cpu = hardware.accelerator == "cpu"
    return L.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision,  # type: ignore[arg-type]
        # A GPU lacks a few such kernels (the pooling of VGG and AlexNet): torch then warns.
        deterministic="warn" if hardware.deterministic and not on_cpu else hardware.deterministic,
        enable_progress_bar=hardware.progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
        logger=False,
        **settings,
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C through, which Lightning answers by leaving the process."""
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None


@dataclass(frozen=True)
class Stage:
    """How long a stage trains and which of its weights are kept.

    Args:
        name: ``head`` or ``finetune``.
        epochs: at most.
        monitor: ``nll`` (lowest) or ``accuracy`` (highest), on validation.
        patience: epochs without a better value before stopping; ``None`` never stops early.
        ema_decay: share of the old weight average kept at a step; ``None`` for no averaging.

    Raises:
        UserError: a value out of range.
    """

    name: str
    epochs: int
    monitor: str = "nll"
    patience: int | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be run."""
        key = f"stage.{self.name}"
        check_count(f"{key}.epochs", self.epochs)
        check_choice(f"{key}.monitor", self.monitor, MONITORS)
        if self.patience is not None:
            check_count(f"{key}.patience", self.patience)
        if self.ema_decay is not None:
            check_number(f"{key}.ema_decay", self.ema_decay, "in (0, 1)", lambda x: 0 < x < 1)


class History(Callback):
    """Collects one row an epoch and hands all rows on; its rows live in the checkpoint.

    Args:
        stage: written into every row and checkpoint.
        rows: rows of earlier stages.
        write: called with all rows after every epoch.
    """

    def __init__(self, stage: str, rows: list[Row], write: Callable[[list[Row]], None]) -> None:
        """Store the rows so far."""
        self.stage, self.rows, self.write = stage, list(rows), write

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch that ended."""
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.rows.append(
            {"stage": self.stage, "epoch": trainer.current_epoch, "lr": rate, **measured}
        )
        self.write(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, plain values."""
        return {"stage": self.stage, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows back: those of an epoch that was lost are not among them."""
        self.rows = list(state_dict["rows"])


def checkpoint_stage(path: Path) -> str | None:
    """Return the stage that a checkpoint belongs to; ``None`` where there is no file."""
    if not path.is_file():
        return None
    callbacks = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["callbacks"]
    return str(callbacks["History"]["stage"])


def fit_stage(
    module: Classifier,
    data: L.LightningDataModule,
    stage: Stage,
    hardware: Hardware,
    folder: Path,
    history: History,
) -> None:
    """Train one stage and leave its best weights in ``module``.

    ``folder`` receives ``best.ckpt`` and ``last.ckpt``; a ``last.ckpt`` of this stage that
    lies there already is gone on from.
    """
    monitor = f"val_{stage.monitor}"
    mode = MONITORS[stage.monitor]
    callbacks: list[Callback] = [history]
    if stage.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=stage.ema_decay))
    if stage.patience is not None:
        callbacks.append(
            EarlyStopping(
                monitor, mode=mode, patience=stage.patience, check_on_train_epoch_end=True
            )
        )
    callbacks.append(
        # Lightning puts averaged weights into whole checkpoints only.
        BestCheckpoint(folder, monitor, mode, weights_only=stage.ema_decay is None)
    )
    callbacks.append(LastCheckpoint(folder, hardware.save_every, final=hardware.keep_last))
    if hardware.progress:
        callbacks.append(TQDMProgressBar())
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    resumed = checkpoint_stage(last) == stage.name
    if not (resumed and _is_over(last, stage)):
        files = AtomicCheckpointIO()
        trainer = make_trainer(
            hardware,
            max_epochs=stage.epochs,
            callbacks=callbacks,
            plugins=[files],
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
        with interruptible():
            trainer.fit(module, data, ckpt_path=last if resumed else None)
        files.flush()
    state = torch.load(best, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])


def _is_over(last: Path, stage: Stage) -> bool:
    state = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
    stopped = any(
        values.get("stopped_epoch", 0) > 0
        for name, values in state["callbacks"].items()
        if name.startswith("EarlyStopping")
    )
    return stopped or int(state["epoch"]) + 1 >= stage.epochs


def predict(module: Classifier, loader: DataLoader[Batch], hardware: Hardware) -> Outputs:
    """Return what a module around a whole network makes of a loader's rows, in their order."""
    with interruptible():
        batches = make_trainer(hardware).predict(module, loader)
    return Outputs(*map(torch.cat, zip(*(batches or []), strict=True)))
