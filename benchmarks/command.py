"""Commands in processes of their own: start-up and memory."""

import json
import os
import shutil
import subprocess
import sys
import time

from benchmarks.scene import RECIPE, Scene
from benchmarks.timing import Row, alone

_FIRST_STEP = """
import os, sys
from leukemia import train
from leukemia.models.classifier import Classifier
def stop(self, batch, batch_idx):
    print("first step", flush=True)
    os._exit(0)
Classifier.on_train_batch_start = stop
train.main()
"""

_STREAM = """
import sys
import numpy as np
from leukemia.data.datamodule import ArrayDataModule
from leukemia.data.files.manifest import Manifest
from leukemia.runs.environment import peak_memory
n, path = int(sys.argv[1]), sys.argv[2]
images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 224, 224, 3))  # sparse: no block
del images
images = np.lib.format.open_memmap(path, "r")
files = tuple(f"Early/WBC-Malignant-Early-{i:06d}.jpg" for i in range(n))
labels = np.arange(n) % 4
manifest = Manifest(files, labels, np.full((n, 2), 224), tuple(f"{i:064x}" for i in range(n)))
data = ArrayDataModule(images, labels, {"train": np.arange(n)})
for i, (batch, _) in enumerate(data.loader("train", train=True)):
    batch.sum()
    if i == 40: break
print(peak_memory())
"""


def startup(scene: Scene) -> list[Row]:
    """Time from command to help, to the first training step and to a single prediction."""
    settings = _train(scene, "trainer.max_epochs=1")
    run = scene.folder / "run"
    if not run.exists():
        _timed(_module("leukemia.train", *settings, f"hydra.run.dir={run}"), scene)
    stopped = scene.folder / "first"
    first = [sys.executable, "-c", _FIRST_STEP, *settings, f"hydra.run.dir={stopped}"]
    commands = {
        "python -c 'import torch'": ([sys.executable, "-c", "import torch"], None),
        "leukemia.train --help": (_module("leukemia.train", "--help"), None),
        "command to first step, caches warm": (first, 6.0),
        "a single predict": (
            _module("leukemia.predict", f"run={run}", f"input={scene.files[0]}"),
            6.0,
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(scene.rounds):
        for name, (words, _limit) in commands.items():
            shutil.rmtree(stopped, ignore_errors=True)  # train begins no run where one lies
            taken[name].append(_timed(words, scene))
    rows = [alone("start-up", name, "s", taken[name], commands[name][1]) for name in commands]
    environment = json.loads((run / "environment.json").read_text())
    peak = environment["peak_memory_mb"] / 1024
    return [*rows, alone("memory", "a fine-tuning run", "GiB", [peak], 2.5)]


def memory(scene: Scene) -> list[Row]:
    """Peak memory of reading batches, by the number of images in a sparse cache."""
    rows, path = [], scene.folder / "sparse.npy"
    for n in (3_000, 30_000, 300_000):
        words = [sys.executable, "-c", _STREAM, str(n), str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        rows.append(alone("memory", f"reading {n:,} images", "MiB", [float(done.stdout)]))
        path.unlink()
    return rows


def _train(scene: Scene, *overrides: str) -> list[str]:
    return [
        *("data=folder", f"data.root={scene.root}", f"data.cache_dir={scene.folder / 'cache'}"),
        *(RECIPE, "split=stratified", "model.backbone.weights=null", "runtime.progress=false"),
        *("open_test=false", *overrides),
    ]


def _module(name: str, *words: str) -> list[str]:
    return [sys.executable, "-m", name, *words]


def _timed(words: list[str], scene: Scene) -> float:
    began = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(words, check=True, capture_output=True, cwd=scene.folder, env=env)
    return time.perf_counter() - began
