"""Inference: what `evaluate` and `predict` run, against bare forward passes."""

from functools import partial

import numpy as np
import torch

from benchmarks.scene import BATCH, Scene
from benchmarks.timing import Row, alternate
from leukemia.compose.model import build_judge
from leukemia.data.datamodule import ArrayDataModule
from leukemia.data.files.inputs import prepare
from leukemia.runs.finished import FinishedRun
from leukemia.runs.integers import Streams, make_network
from leukemia.training.stage import predict


def measure(scene: Scene) -> list[Row]:
    """Compare images a second of ResNet18, one view."""
    run = scene.finished()
    files = [scene.files[i % len(scene.files)] for i in range(scene.batches * BATCH)]
    network = make_network(run)
    ways = {
        "evaluate": partial(_evaluate, scene, run),
        "bare forward": partial(_bare, scene, run, half=True),
        "bare float32 forward": partial(_bare, scene, run, half=False),
        "predict (files), plain": lambda: _plainly(run, files),
    }
    if network is not None:
        streams = Streams(run, network, lambda p: np.zeros(len(p), np.bool_))
        ways["predict (files), integers"] = lambda: sum(map(len, streams.score(files)))
    rates = alternate("inference", "images/s", ways, scene.rounds)
    rows = [
        rates.row("evaluate", "bare forward", 0.95),
        rates.row("evaluate", "bare float32 forward", 2.5),
        rates.row("predict (files), plain", "bare forward"),
    ]
    if network is not None:
        rows += [
            rates.row("predict (files), integers", "bare forward"),
            rates.row("predict (files), integers", "bare float32 forward", 2.5),
        ]
    return rows


def _evaluate(scene: Scene, run: FinishedRun) -> float:
    rows = np.arange(scene.batches * BATCH) % len(scene.pixels)
    data = ArrayDataModule(scene.pixels, scene.manifest.labels, {"test": rows})
    module = build_judge(run.cfg, run.network).eval()
    return len(predict(module, data.loader("test"), run.hardware).probabilities)


def _plainly(run: FinishedRun, files: list) -> float:  # type: ignore[type-arg]
    prepared = list(prepare(files, run.preprocess))
    for start in range(0, len(prepared), 64):
        run.score(np.stack(prepared[start : start + 64]))
    return len(files)


@torch.inference_mode()
def _bare(scene: Scene, run: FinishedRun, *, half: bool) -> float:
    device, dtype = run.hardware.accelerator, run.hardware.half if half else None
    with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
        for images, _ in scene.bare(device):
            run.network(images)
    return scene.batches * BATCH
