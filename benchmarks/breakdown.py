"""Where the time of a training goes."""

import time
from functools import partial
from unittest import mock

import numpy as np
from lightning.pytorch.profilers import SimpleProfiler

from benchmarks.scene import BATCH, Scene
from leukemia.compose.data import build_augmenter
from leukemia.compose.model import build_classifier
from leukemia.data.datamodule import ArrayDataModule
from leukemia.training import stage as fit

# Parts of the names that Lightning's profiler gives, in the order in which they are looked for.
PARTS = {
    "data": ("train_dataloader_next", "transfer_batch_to_device"),
    "validation": ("validation", "val_next", "_EvaluationLoop"),
    "checkpoints": ("ModelCheckpoint", "LastCheckpoint"),
    "weight averaging": ("EMAWeightAveraging",),
    "backward": (".backward",),
    "forward": ("Strategy]SingleDeviceStrategy.training_step",),
    "optimizer": ("optimizer_step",),
    "logging": ("History", "update_logger", "log_"),
}


def measure(scene: Scene) -> dict[str, float]:
    """Return the share of each part in the seconds of two epochs of the default recipe."""
    cfg, network, hardware = scene.network()
    rows = np.arange(scene.batches * BATCH) % len(scene.pixels)
    data = ArrayDataModule(
        scene.pixels,
        scene.manifest.labels,
        {"train": rows, "val": rows[: len(rows) // 3]},
        augment=build_augmenter(cfg),
    )
    profiler = SimpleProfiler()
    stage = fit.Stage("finetune", 2, ema_decay=cfg.stage.finetune.ema_decay)
    history = fit.History("finetune", [], lambda _: None)
    module = build_classifier(cfg, network, "finetune")
    began = time.perf_counter()
    with mock.patch.object(fit, "make_trainer", partial(fit.make_trainer, profiler=profiler)):
        fit.fit_stage(module, data, stage, hardware, scene.folder / "parts", history)
    total = time.perf_counter() - began
    return _shares(dict(profiler.recorded_durations), total)


def _shares(durations: dict[str, list[float]], total: float) -> dict[str, float]:
    seconds = dict.fromkeys(PARTS, 0.0)
    for name, taken in durations.items():
        if "[LightningModule]" in name and "optimizer_step" not in name:
            continue  # inside of others
        part = next((p for p, words in PARTS.items() if any(w in name for w in words)), None)
        if part is not None:
            seconds[part] += sum(taken)
    # Lightning calls forward and backward from within the optimizer's step.
    seconds["optimizer"] -= seconds["forward"] + seconds["backward"]
    seconds["everything else"] = total - sum(seconds.values())
    return {part: value / total for part, value in seconds.items()}
