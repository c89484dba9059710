"""Embeddings of the frozen backbone."""

import numpy as np
import torch

from benchmarks.scene import BATCH, Scene
from benchmarks.timing import Row, alternate
from leukemia.models.embedding import embed

SIZE = 64
"""Images a forward pass, in both ways."""


def measure(scene: Scene) -> list[Row]:
    """Compare images a second with the bare forward pass in the same precision and batch."""
    run = scene.finished()
    half, device = run.hardware.half, run.hardware.accelerator
    # Whole batches: `embed` fills those of which it is asked for a part.
    rows = np.arange(max(1, min(scene.batches * BATCH, len(scene.pixels)) // SIZE) * SIZE)

    def ours() -> float:
        settings = {"device": device, "half": half, "progress": False}
        return len(embed(run.network, scene.pixels, rows, batch_size=SIZE, **settings))

    @torch.inference_mode()
    def bare() -> float:
        images = torch.from_numpy(scene.pixels).permute(0, 3, 1, 2).to(device)
        with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
            for start in range(0, len(rows), SIZE):
                run.network.embed(images[start : start + SIZE])
        return len(rows)

    rates = alternate("embedding", "images/s", {"embed": ours, "bare forward": bare}, scene.rounds)
    return [rates.row("embed", "bare forward", 0.95)]
