"""One stage of training, and prediction: a fresh Lightning Trainer for each."""

import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
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
    ProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader

from leukemia.errors import UserError, check_count, check_number
from leukemia.models.classifier import Batch, Classifier
from leukemia.models.network import Outputs, check_finite
from leukemia.models.weights import PROGRESS, check_fits, load_checkpoint
from leukemia.training.callbacks import (
    AtomicCheckpointIO,
    Bar,
    BestCheckpoint,
    LastCheckpoint,
)
from leukemia.training.hardware import Hardware

Row = dict[str, Any]
MONITORS = {"nll": "min", "accuracy": "max"}
REFIT, HEAD_REFIT = "refit", "head_refit"
AGAIN = "the figures are the same in the end"
NOISE = (
    ".*does not have many workers.*",
    ".*DataLoader will create.*",
    ".*number of training batches.*",
    ".*Checkpoint directory.*exists and is not empty.*",
    ".*isinstance.treespec, LeafSpec.*",
)


def make_trainer(
    hardware: Hardware,
    kind: Callable[..., L.Trainer] = L.Trainer,
    *,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> L.Trainer:
    """Return a Trainer that neither logs nor prints by itself.

    Args:
        hardware: where and in which precision.
        kind: what ``hardware.trainer`` returns, for a fit; predictions are whole, without flags.
        callbacks: beside the bar.
        **settings: other flags.
    """
    # Its hardware lines, tips and advice repeat what environment.json says, or do not hold
    # here: one process is fastest on a cache in memory, a last batch may be small.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for text in NOISE:
        warnings.filterwarnings("ignore", message=text)
    on_cpu = hardware.accelerator == "cpu"
    given = any(isinstance(one, ProgressBar) for one in callbacks)
    stage = next((one.stage for one in callbacks if isinstance(one, History)), "training")
    bar = [Bar(stage)] if hardware.progress and not given else []
    return kind(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision,
        # A GPU lacks a few such kernels (the pooling of VGG and AlexNet): torch then warns.
        deterministic="warn" if hardware.deterministic and not on_cpu else hardware.deterministic,
        callbacks=[*callbacks, *bar],
        **{
            "enable_progress_bar": given,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "logger": False,
            **settings,
        },
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C through, which Lightning answers by leaving the process.

    Raises:
        UserError: memory ran out, here or in a loader process.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    except torch.OutOfMemoryError as error:
        raise UserError(
            "The memory of the GPU is used up: give a smaller runtime.eval_batch_size, or start "
            "anew with a smaller stage.<stage>.batch_size."
        ) from error
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        if "signal: Terminated" in str(error):  # as with this process, by a cluster's time limit
            raise KeyboardInterrupt from None
        raise UserError(
            f"A loader process was lost ({' '.join(str(error).split())}): memory, or the shared "
            f"memory /dev/shm, was used up, or somebody stopped it. Give runtime.num_workers=0, "
            f"also together with resume=: then this process loads."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored


@dataclass(frozen=True)
class Stage:
    """How long a stage trains and which of its weights are kept.

    Args:
        name: ``head``, ``finetune`` or ``refit``.
        epochs: at most.
        monitor: ``nll`` (lowest) or ``accuracy`` (highest), on validation; ``None`` keeps the last
            weights and looks at no validation.
        patience: epochs without a better value before stopping; ``None`` never stops early.
        ema_decay: share of the old weight average kept at a step; ``None`` for no averaging.

    Raises:
        UserError: a value out of range.
    """

    name: str
    epochs: int
    monitor: str | None = "nll"
    patience: int | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be run."""
        key = f"stage.{self.name}"
        check_count(f"{key}.epochs", self.epochs)
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
        remedy: what helps where figures or weights are not finite any more.
    """

    def __init__(
        self,
        stage: str,
        rows: list[Row],
        write: Callable[[list[Row]], None],
        *,
        remedy: str = "lower the learning rate",
    ) -> None:
        """Store the rows so far."""
        self.stage, self.rows, self.write, self.remedy = stage, list(rows), write, remedy

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch that ended; it is the first to look, before any state is saved.

        Raises:
            UserError: the loss, a figure of validation or a weight is not finite.
        """
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        bad = next((f"{k} is {v}" for k, v in measured.items() if not math.isfinite(v)), None)
        if bad is None:
            bad = _not_finite(pl_module)
        if bad is not None:
            raise UserError(
                f"Stage {self.stage} came apart in epoch {trainer.current_epoch}, at a learning "
                f"rate of {rate:.3g}: {bad}. Nothing of this epoch was kept: {self.remedy}."
            )
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


def _not_finite(module: torch.nn.Module) -> str | None:
    """Name the first weight that is not finite; None where all are."""
    for name, value in module.named_parameters():
        # One number a tensor: whatever is added to nan or infinity stays so.
        if not torch.isfinite(value.detach().double().sum()):
            return f"the weights {name.removeprefix('network.')} are not finite"
    return None


def load_progress(module: L.LightningModule, stage: Stage, folder: Path) -> dict[str, Any] | None:
    """Return what a stage that was begun goes on from; ``None`` where it was not.

    Args:
        module: that is trained.
        stage: its stage.
        folder: of ``last.ckpt``, and of the best weights so far.

    Raises:
        UserError: a file that is damaged, or of another network.
    """
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    if not last.is_file():
        return None
    remedy = f"Remove it, and the stage that it is of is trained anew: {AGAIN}."
    state = load_checkpoint(last, remedy, PROGRESS)
    history = state["callbacks"].get("History")
    if not isinstance(history, dict) or not isinstance(history.get("rows"), list):
        raise UserError(f"The checkpoint '{last}' cannot be used: it holds no history. {remedy}")
    if history.get("stage") != stage.name:
        return None
    check_fits(module, state["state_dict"], last, remedy)
    if stage.monitor is not None:  # told now, and not after the last epoch
        read_weights(module, best)
    return state


def read_weights(module: L.LightningModule, path: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a stage kept, from ``best.ckpt`` or ``last.ckpt``.

    Raises:
        UserError: they are damaged, or of another network.
    """
    remedy = f"Remove it and last.ckpt beside it, and the stage is trained anew: {AGAIN}."
    weights: dict[str, torch.Tensor] = load_checkpoint(path, remedy)["state_dict"]
    check_fits(module, weights, path, remedy)
    return weights


def fit_stage(
    module: L.LightningModule,
    data: L.LightningDataModule,
    stage: Stage,
    hardware: Hardware,
    folder: Path,
    history: History,
    *,
    more: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> None:
    """Train one stage and leave the weights that it keeps in ``module``.

    Args:
        module: that is trained.
        data: its loaders.
        stage: how long, and which weights are kept.
        hardware: where, in which precision, and by which flags of the Trainer.
        folder: receives ``best.ckpt`` (unless the last weights are kept) and ``last.ckpt``; a
            ``last.ckpt`` of this stage that lies there already is gone on from.
        history: of this stage.
        more: callbacks of the user.
        loggers: of the user.
    """
    callbacks: list[Callback] = [history, *more]
    if stage.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=stage.ema_decay))
    if stage.monitor is not None:
        averaged = any(isinstance(one, WeightAveraging) for one in callbacks)
        callbacks += _watch(stage, folder, averaged=averaged)
    callbacks.append(LastCheckpoint(folder, hardware.save_every, final=hardware.keep_last))
    last = folder / "last.ckpt"
    state = load_progress(module, stage, folder)
    resumed, over = state is not None, state is not None and _is_over(state, stage)
    del state  # up to three times the size of the weights
    if not over:
        files = AtomicCheckpointIO()
        kind = L.Trainer if hardware.trainer is None else hardware.trainer()
        flags = getattr(kind, "keywords", {})
        trainer = make_trainer(
            hardware,
            kind,
            max_epochs=stage.epochs,
            callbacks=callbacks,
            logger=list(loggers),
            plugins=[files, *(flags.get("plugins") or [])],
            default_root_dir=folder,
            **({} if stage.monitor else {"limit_val_batches": 0}),
        )
        with interruptible():
            trainer.fit(module, data, ckpt_path=last if resumed else None)
        files.flush()
        if stage.monitor is not None and not (folder / "best.ckpt").is_file():
            # Stopped before the end of an epoch, as by trainer.max_steps or fast_dev_run.
            print(f"Stage {stage.name} ended before it was validated: its last weights are kept.")
            return
    if stage.monitor is not None or over:
        kept = last if stage.monitor is None else folder / "best.ckpt"
        module.load_state_dict(read_weights(module, kept))


def _watch(stage: Stage, folder: Path, *, averaged: bool) -> list[Callback]:
    """Return what looks at validation: early stopping, and the keeper of the best weights."""
    assert stage.monitor is not None
    monitor, mode = f"val_{stage.monitor}", MONITORS[stage.monitor]
    # Lightning puts averaged weights into whole checkpoints only.
    best = BestCheckpoint(folder, monitor, mode, weights_only=not averaged)
    if stage.patience is None:
        return [best]
    patience = EarlyStopping(
        monitor, mode=mode, patience=stage.patience, check_on_train_epoch_end=True
    )
    return [patience, best]


def best_epoch(rows: Sequence[Row], stage: Stage) -> int:
    """Return the epoch, from 0 on, whose weights a stage kept; the first of equals.

    Args:
        rows: of history.csv.
        stage: which looks at validation.
    """
    assert stage.monitor is not None
    column, sign = f"val_{stage.monitor}", 1 if MONITORS[stage.monitor] == "min" else -1
    own = [row for row in rows if row["stage"] == stage.name and row.get(column) is not None]
    if not own:  # it ended before it was validated
        return 0
    return int(min(own, key=lambda row: sign * row[column])["epoch"])


def _is_over(state: dict[str, Any], stage: Stage) -> bool:
    stopped = any(
        values.get("stopped_epoch", 0) > 0
        for name, values in state["callbacks"].items()
        if str(name).startswith("EarlyStopping") and isinstance(values, dict)
    )
    return stopped or int(state["epoch"]) + 1 >= stage.epochs


def predict(
    module: Classifier,
    loader: DataLoader[Batch],
    hardware: Hardware,
    whose: str = "this training",
) -> Outputs:
    """Return what a module around a whole network makes of a loader's rows, in their order.

    Raises:
        UserError: an answer is no finite number; `whose` says whose network it is.
    """
    with interruptible():
        batches = make_trainer(hardware).predict(module, loader)
    found = Outputs(*map(torch.cat, zip(*(batches or []), strict=True)))
    check_finite(found, whose)
    return found
