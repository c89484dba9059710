"""Training a head on embeddings."""

import time

import numpy as np
import torch

from benchmarks.scene import Scene
from benchmarks.timing import Row, alternate
from leukemia.compose.model import build_classifier
from leukemia.compose.network import build_loss, build_optimizer
from leukemia.data.datamodule import ArrayDataModule
from leukemia.training.stage import History, Stage, fit_stage

N, WIDTH, BATCH, EPOCHS = 1200, 512, 256, 6


def measure(scene: Scene) -> list[Row]:
    """Compare epochs a second of the paper's deep head with a loop over one tensor."""
    random = np.random.default_rng(0)
    table = random.standard_normal((N, WIDTH), dtype=np.float32)
    labels = random.integers(0, 4, N)

    def ours() -> float:
        cfg, network, hardware = scene.network("head=residual", "stages=[head]")
        rows = np.arange(N)
        parts = {"train": rows, "val": rows[:2]}
        data = ArrayDataModule(table, labels, parts, batch_size=BATCH)
        module = build_classifier(cfg, network.head, "head")
        history, where = History("head", [], lambda _: None), scene.folder / f"head{time.time()}"
        fit_stage(module, data, Stage("head", EPOCHS), hardware, where, history)
        return EPOCHS

    def bare() -> float:
        cfg, network, hardware = scene.network("head=residual", "stages=[head]")
        device, half = hardware.accelerator, hardware.half
        head, loss = network.head.train(), build_loss(cfg)
        make = build_optimizer(cfg, "head")
        optimizer = make(head.named_parameters())
        inputs, truth = torch.from_numpy(table).to(device), torch.from_numpy(labels).to(device)
        for _ in range(EPOCHS):
            for rows in torch.randperm(N).split(BATCH):
                with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
                    value = loss(head(inputs[rows]), truth[rows]).loss
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
        return EPOCHS

    ways = {"head stage": ours, "bare one-tensor loop": bare}
    rates = alternate("head", "epochs/s", ways, scene.rounds)
    return [rates.row("head stage", "bare one-tensor loop", 0.8)]
