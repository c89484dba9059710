"""What all benchmarks share: settings, painted or real images, pixels, networks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hydra
import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from leukemia.cli import CONF
from leukemia.compose.network import build_hardware, build_network
from leukemia.compose.preprocess import build_classes, build_preprocess
from leukemia.data.cache import open_pixels
from leukemia.data.files.manifest import Manifest, build_manifest
from leukemia.data.synthetic import paint_smears
from leukemia.measure.ood import fit_known
from leukemia.models.network import Network
from leukemia.runs.directory import RunDir
from leukemia.runs.finished import FinishedRun
from leukemia.training.hardware import Hardware

BATCH = 32
RECIPE = "experiment=finetuned"


@dataclass(frozen=True)
class Scene:
    """Images on disk and in memory, and the settings of fine-tuning.

    Args:
        folder: for what the benchmarks write.
        root: class folders of painted smears, so that the figures need no data set.
        manifest: the N images.
        pixels: (N, 224, 224, 3), from the cache, in memory.
        batches: batches of 32 that a piece of work takes; see `training.sized`.
        rounds: how often each piece is timed.
    """

    folder: Path
    root: Path
    manifest: Manifest
    pixels: NDArray[np.uint8]
    batches: int
    rounds: int

    @property
    def files(self) -> list[Path]:
        """The images' files."""
        return [self.root / file for file in self.manifest.files]

    def settings(self, *overrides: str) -> DictConfig:
        """Return the settings of ``leukemia.train`` that fine-tune ResNet18 from scratch."""
        fixed = [RECIPE, "model.backbone.weights=null", "runtime.progress=false"]
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose("train", [*fixed, *overrides])
        cfg.data.root, cfg.data.cache_dir = str(self.root), str(self.folder / "cache")
        cfg.open_test = False
        return cfg

    def network(self, *overrides: str) -> tuple[DictConfig, Network, Hardware]:
        """Return settings, a new network and where it computes."""
        cfg = self.settings(*overrides)
        hardware = build_hardware(cfg)
        network = build_network(cfg)[0].to(hardware.accelerator)
        return cfg, network.to(memory_format=torch.channels_last), hardware

    def finished(self, *overrides: str) -> FinishedRun:
        """Return a run as if finished, with one view, that never was on disk."""
        cfg, network, hardware = self.network("runtime.tta=false", *overrides)
        run = RunDir(self.folder / "none")
        run.path.mkdir(exist_ok=True)
        with torch.inference_mode():
            images = torch.from_numpy(self.pixels[:32]).permute(0, 3, 1, 2)
            known = network.eval().embed(images.to(hardware.accelerator)).float().cpu()
        fit_known(known.numpy()).save(run.known)
        return FinishedRun(run, cfg, network, hardware)

    def bare(self, device: str = "cpu") -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield batches of a tensor in memory, as a bare loop has them: channels last, uint8."""
        images = torch.from_numpy(self.pixels).permute(0, 3, 1, 2).to(device)
        labels = torch.from_numpy(self.manifest.labels).to(device)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        for batch in range(self.batches):
            rows = order[torch.arange(batch * BATCH, (batch + 1) * BATCH) % len(order)]
            yield images[rows], labels[rows]


def make_scene(folder: Path, *, quick: bool) -> Scene:
    """Paint the smears and build their cache."""
    rounds = 1 if quick else 5
    root = paint_smears(folder / "smears", per_class=48 if not quick else 16)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", [RECIPE])
    manifest = build_manifest(root, build_classes(cfg), cache_dir=folder / "cache")
    pixels = open_pixels(root, manifest, build_preprocess(cfg), folder / "cache")
    return Scene(folder, root, manifest, np.array(pixels), 3, rounds)
