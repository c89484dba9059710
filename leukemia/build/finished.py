"""A finished run, opened to be used: its settings, its weights, its preprocessing."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf

from leukemia.build.data import Sources, build_classes, build_data, build_preprocess, cache_dir
from leukemia.build.model import build_classifier, build_hardware, build_network
from leukemia.classes import Classes
from leukemia.data.cache import Preprocess, open_pixels
from leukemia.data.datamodule import ArrayDataModule
from leukemia.data.manifest import Manifest, build_manifest
from leukemia.data.split import Split, read_split
from leukemia.errors import UserError
from leukemia.model.classifier import Classifier
from leukemia.model.fit import Hardware, predict
from leukemia.run import RunDir, open_run


@dataclass(frozen=True)
class FinishedRun:
    """A finished run and what it takes to score images as it did.

    Args:
        run: its directory.
        cfg: its settings.
        classifier: its network with the best weights, in eval mode.
        hardware: where and in which precision to compute here.
    """

    run: RunDir
    cfg: DictConfig
    classifier: Classifier
    hardware: Hardware

    @property
    def classes(self) -> Classes:
        """The class scheme that the run was trained with."""
        return build_classes(self.cfg)

    @property
    def preprocess(self) -> Preprocess:
        """Mask, crop and size that the run was trained with.

        Raises:
            UserError: the run was trained on embeddings made elsewhere, and takes no images.
        """
        if self.cfg.data.name == "embeddings":
            raise UserError(
                f"'{self.run.path}' was trained on embeddings (data=embeddings) and takes no "
                f"images: name a run that was trained on images."
            )
        return build_preprocess(self.cfg)

    def own_data(self, root: str | None = None) -> Sources:
        """Return the run's own data, set up, with the parts of its split.csv.

        Args:
            root: where the images are now; ``None`` for where they were.

        Raises:
            UserError: the images are not there, or no longer the same.
        """
        cfg = self.cfg.copy()
        if root is not None:
            cfg.data.root = root
        data = build_data(cfg)
        data.splitter = self._own_parts
        data.prepare_data()
        data.setup()
        return data

    def folder(self, root: Path) -> tuple[ArrayDataModule, Manifest]:
        """Return another folder with the same classes, all of it in the part ``test``.

        Raises:
            UserError: the folder does not have the run's classes, or holds unreadable images.
        """
        preprocess, folder, data = self.preprocess, cache_dir(self.cfg), self.cfg.data
        shared = {"cache_dir": folder, "workers": data.workers}
        manifest = build_manifest(root, self.classes, on_bad=data.on_bad, **shared)
        pixels = open_pixels(root, manifest, preprocess, **shared)
        parts = {"test": np.arange(len(manifest))}
        return ArrayDataModule(pixels, manifest.labels, parts), manifest

    def probabilities(self, data: ArrayDataModule, part: str) -> npt.NDArray[np.float64]:
        """Return the class probabilities (N, C) of a part, computed as training's end did."""
        data.eval_batch_size = self.cfg.trainer.eval_batch_size
        return predict(self.classifier, data.loader(part), self.hardware)

    def score(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the class probabilities (N, C) of one batch of preprocessed images.

        Args:
            pixels: (N, size, size, 3) as `preprocess` returns them.
        """
        device = torch.device(self.hardware.accelerator)
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
        half = self.hardware.half
        with (
            torch.inference_mode(),
            torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None),
        ):
            return self.classifier.to(device).predict_step((inputs, inputs), 0).cpu().numpy()

    def _own_parts(self, manifest: Manifest, groups: npt.NDArray[np.int64]) -> Split:
        return read_split(self.run.split, manifest, self.classes)


def open_finished(path: Path, **trainer: object) -> FinishedRun:
    """Open the directory of a finished run.

    Args:
        path: a folder that `leukemia.train` wrote and finished.
        **trainer: settings of ``trainer`` that shall differ from the run's, such as ``progress``.

    Raises:
        UserError: it is no run directory, is not finished, or its weights do not fit.
    """
    run, cfg = open_run(path)
    if not run.done:
        raise UserError(
            f"The run '{path}' is not finished: go on with `python -m leukemia.train "
            f"resume={path}` first."
        )
    cfg.trainer = OmegaConf.merge(cfg.trainer, trainer)
    if "backbone" in cfg.model:
        cfg.model.backbone.weights = None  # its own come below
    network, _ = build_network(cfg, build_data(cfg) if cfg.data.name == "embeddings" else None)
    weights = run.checkpoints / "best.ckpt"
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
        network.load_state_dict(state)
    except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"The weights '{weights}' cannot be loaded: {str(error).splitlines()[0]} "
            f"Train the run anew."
        ) from error
    return FinishedRun(run, cfg, build_classifier(cfg, network.eval()).eval(), build_hardware(cfg))
