"""Embeddings of the frozen backbone."""

import numpy as np
import torch

from benchmarks.scene import BATCH, Scene
from benchmarks.timing import Row, alternate
from leukemia.model.embeddings import embed


def measure(scene: Scene) -> list[Row]:
    """Compare images a second with the bare forward pass in the same precision and batch."""
    run = scene.finished()
    half, device = run.hardware.half, run.hardware.accelerator
    rows = np.arange(min(scene.batches * BATCH, len(scene.pixels)))

    def ours() -> float:
        settings = {"device": device, "bfloat16": half is not None, "progress": False}
        return len(embed(run.network, scene.pixels, rows, batch_size=64, **settings))

    @torch.inference_mode()
    def bare() -> float:
        images = torch.from_numpy(scene.pixels).permute(0, 3, 1, 2).to(device)
        with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
            for start in range(0, len(rows), 64):
                run.network.embed(images[start : min(start + 64, len(rows))])
        return len(rows)

    rates = alternate("embedding", "images/s", {"embed": ours, "bare forward": bare}, scene.rounds)
    return [rates.row("embed", "bare forward", 0.95)]
