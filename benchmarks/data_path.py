"""The data path alone: from the cache through augmentation to a collated batch."""

from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets
from torchvision.transforms import v2

from benchmarks.scene import BATCH, Scene
from benchmarks.timing import Row, Work, alternate
from benchmarks.training import bare_loop
from leukemia.compose.data import build_augmenter
from leukemia.data.datamodule import ArrayDataModule

MANY = 12
"""Times as many batches as a training takes: these are over sooner."""


def measure(scene: Scene) -> list[Row]:
    """Compare images a second, by number of workers, with torchvision's own ways."""
    ways: dict[str, Work] = {f"{n} workers": partial(_ours, scene, n) for n in (0, 2)}
    ways["torchvision v2 on the same pixels"] = partial(_v2, scene)
    ways["decode every epoch (ImageFolder, v2)"] = partial(_decode, scene)
    ways["the bare training loop"] = partial(bare_loop, scene, half=True)
    rates = alternate("data path", "images/s", ways, scene.rounds, warm=False)
    *ours, v2_way, decoding, model = ways
    rows = [rates.row(way, other) for way in ours for other in (v2_way, decoding)]
    return [*rows, rates.row(ours[0], model, 10)]


def _ours(scene: Scene, workers: int) -> float:
    n = scene.batches * BATCH * MANY
    rows = np.arange(n) % len(scene.pixels)
    data = ArrayDataModule(
        scene.pixels,
        scene.manifest.labels,
        {"train": rows},
        augment=build_augmenter(scene.settings()),
        num_workers=workers,
    )
    return sum(len(images) for images, _ in data.loader("train", train=True))


_FLIPS = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]


def _v2(scene: Scene) -> float:
    flips = v2.Compose(_FLIPS)
    images = torch.from_numpy(scene.pixels).permute(0, 3, 1, 2)
    n = scene.batches * BATCH * MANY
    rows = torch.arange(n) % len(images)
    table = TensorDataset(rows)

    def collate(batch: list[tuple[torch.Tensor]]) -> torch.Tensor:
        return torch.stack([flips(images[row]) for (row,) in batch])

    return sum(len(batch) for batch in DataLoader(table, BATCH, shuffle=True, collate_fn=collate))


def _decode(scene: Scene) -> float:
    steps = v2.Compose([*_FLIPS, v2.PILToTensor()])
    loader = DataLoader(datasets.ImageFolder(scene.root, steps), BATCH, shuffle=True)
    done = 0
    while done < scene.batches * BATCH:
        done += sum(len(images) for images, _ in loader)
    return done
