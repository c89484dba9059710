"""Training: what `leukemia.train` runs, against bare loops and what one would otherwise write."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from benchmarks.scene import BATCH, Scene
from benchmarks.timing import Clock, Row, alternate
from leukemia.compose.data import build_augmenter
from leukemia.compose.model import build_classifier
from leukemia.compose.network import build_loss, build_optimizer
from leukemia.data.datamodule import ArrayDataModule
from leukemia.training.stage import History, Stage, fit_stage

PIECE = 7.0
"""Seconds that a piece of training should take, where 3 to 7 batches can."""


def sized(scene: Scene) -> Scene:
    """Return the scene with as many batches as suit the machine."""
    seconds = BATCH / bare_loop(scene, half=True).rate
    return replace(scene, batches=min(7, max(3, round(PIECE / seconds))))


def measure(scene: Scene) -> list[Row]:
    """Compare images a second of training ResNet18 at batch 32."""
    rates = alternate(
        "training",
        "images/s",
        {
            "leukemia.train": partial(_ours, scene),
            "bare loop": partial(bare_loop, scene, half=True),
            "bare float32 loop": partial(bare_loop, scene, half=False),
            "Lightning over ImageFolder": partial(_imagefolder, scene),
        },
        scene.rounds,
        warm=False,
    )
    return [
        rates.row("leukemia.train", "bare loop", 0.95),
        rates.row("leukemia.train", "bare float32 loop", 2.2),
        rates.row("leukemia.train", "Lightning over ImageFolder"),
    ]


class _Timed(History):
    """The history of a stage, with a clock of its batches."""

    def __init__(self, clock: Clock, *args: Any) -> None:
        super().__init__(*args)
        self.clock = clock

    @property
    def state_key(self) -> str:
        return "History"

    def on_train_batch_end(self, *args: Any) -> None:
        self.clock.tick()


def _ours(scene: Scene) -> Clock:
    """The steps of the default recipe: augmentation, dual loss, weight averaging."""
    cfg, network, hardware = scene.network("runtime.save_every=20")
    n = scene.batches * BATCH
    rows = torch.arange(n).numpy() % len(scene.pixels)
    data = ArrayDataModule(
        scene.pixels,
        scene.manifest.labels,
        {"train": rows, "val": rows[:1]},
        augment=build_augmenter(cfg),
    )
    stage = Stage("finetune", 1, ema_decay=cfg.stage.finetune.ema_decay)
    clock = Clock(BATCH)
    history = _Timed(clock, "finetune", [], lambda rows: None)
    module = build_classifier(cfg, network, "finetune")
    fit_stage(module, data, stage, hardware, scene.folder / "fit" / str(time.time()), history)
    return clock


def bare_loop(scene: Scene, *, half: bool) -> Clock:
    """Train over a tensor in memory, with nothing else; ``half`` as the default precision."""
    cfg, network, hardware = scene.network()
    device, dtype = hardware.accelerator, hardware.half if half else None
    if not half:
        network.to(memory_format=torch.contiguous_format)
    network.train()
    loss = build_loss(cfg)
    make = build_optimizer(cfg, "finetune")
    optimizer = make(network.named_parameters())
    clock = Clock(BATCH)
    for images, labels in scene.bare(device):
        inputs = images if half else images.contiguous()
        with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
            value = loss(network(inputs), labels).loss
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        clock.tick()
    return clock


class _Plain(L.LightningModule):
    """What one writes first."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.net = models.resnet18(num_classes=4)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def on_train_batch_end(self, *args: Any) -> None:
        self.clock.tick()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def _imagefolder(scene: Scene) -> Clock:
    steps = [transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    data = datasets.ImageFolder(Path(scene.root), transforms.Compose([*steps, normalize]))
    trainer = L.Trainer(
        max_epochs=-1,
        max_steps=scene.batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    clock = Clock(BATCH)
    trainer.fit(_Plain(clock), DataLoader(data, BATCH, shuffle=True, drop_last=True))
    return clock
