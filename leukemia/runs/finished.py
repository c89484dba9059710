"""A finished run, opened to be used: its settings, its weights, its preprocessing."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig

from leukemia.classes import Classes
from leukemia.compose.network import build_hardware, build_network, on_this_machine
from leukemia.compose.preprocess import build_classes, build_preprocess
from leukemia.data.image.preprocess import Preprocess
from leukemia.errors import UserError
from leukemia.measure.calibration import Calibration, fit_calibration
from leukemia.measure.ood import Known, read_known
from leukemia.measure.predictions import read_predictions
from leukemia.models.network import Embedder, Network, check_finite, judge_batch
from leukemia.models.weights import load_checkpoint, load_into
from leukemia.runs.directory import RunDir, open_run
from leukemia.runs.plain import REMEDY, read_json
from leukemia.training.hardware import Hardware


@dataclass(frozen=True)
class FinishedRun:
    """A finished run and what it takes to score images as it did.

    Args:
        run: its directory.
        cfg: its settings.
        network: its network with the best weights, in eval mode.
        hardware: where and in which precision to compute here.
        single_view: whether the run predicted with test-time views, and here it does not.
    """

    run: RunDir
    cfg: DictConfig
    network: Network
    hardware: Hardware
    single_view: bool = False

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

    @cached_property
    def known(self) -> Known | None:
        """What the run knows, to tell what is out of distribution; None for one of no images.

        Raises:
            UserError: its file cannot be read.
        """
        return None if self.cfg.data.name == "embeddings" else read_known(self.run.known)

    def score(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the class probabilities (N, C) of one batch, computed as training's end did.

        Args:
            pixels: (N, size, size, 3) as `preprocess` returns them.
        """
        return self.judge(pixels)[:, :-1]

    def judge(
        self, pixels: npt.NDArray[np.uint8], network: Embedder | None = None
    ) -> npt.NDArray[np.float64]:
        """Return `score`, and in a last column how far each image is out of distribution.

        Args:
            pixels: (N, size, size, 3) as `preprocess` returns them.
            network: to compute with instead of the run's own, in a precision of its own.

        Returns:
            (N, C + 1), all finite; the last column is nan for a run of embeddings.

        Raises:
            UserError: the run's own network makes of an image what is no finite number.
        """
        device = torch.device(self.hardware.accelerator)
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
        half, runtime = self.hardware.half, self.cfg.runtime
        cast = half is not None and network is None
        with (
            torch.inference_mode(),
            torch.autocast(device.type, half or torch.bfloat16, enabled=cast),
        ):
            found = judge_batch(
                network or self.network,
                inputs,
                tta=runtime.tta,
                channels_last=runtime.channels_last,
            )
        if network is None:
            check_finite(found, f"the run '{self.run.path}'")
        strange = np.full(len(pixels), np.nan)
        if self.known is not None:
            strange = self.known.score(found.embeddings.cpu().numpy())
        return np.column_stack([found.probabilities.cpu().numpy(), strange])

    def calibration(self, sensitivity: float | None = None) -> Calibration:
        """Return the calibration stored with the run, or one for another sensitivity.

        Args:
            sensitivity: wanted on validation, in (0, 1]; ``None`` takes what is stored.
        """
        run = self.run
        path = run.single_view_calibration if self.single_view else run.calibration
        if path.is_file():
            stored = Calibration.from_dict(read_json(path), str(path))
            if sensitivity in (None, stored.sensitivity) or not self.classes.has_cancer:
                return stored
        part = "val"
        if run.held_out.is_file() and not run.single_view_calibration.is_file():
            part = run.held_out.stem
        table = read_predictions(run.predictions(part), self.classes)
        if sensitivity is None:
            return fit_calibration(table, part=part)
        return fit_calibration(table, sensitivity, part=part)


def open_finished(path: Path, *, trust: bool = False, **asked: object) -> FinishedRun:
    """Open the directory of a finished run.

    Args:
        path: a folder that `leukemia.train` wrote and finished.
        trust: whether it may name classes of other packages, see `check_trusted`.
        **asked: settings of ``trainer`` and ``runtime`` that shall differ from the run's, such as
            ``progress``.

    Raises:
        UserError: it is no run directory, is not finished, a file of it is not what it was
            finished with, or its weights do not fit.
    """
    run, cfg = open_run(path, trust=trust)
    if not run.done:
        raise UserError(
            f"The run '{path}' is not finished: go on with `python -m leukemia.train "
            f"resume={path}` first."
        )
    run.verify()
    weights, remedy = run.checkpoints / "best.ckpt", "Train the run anew."
    state = load_checkpoint(weights, remedy)["state_dict"]
    try:
        views = cfg.runtime.tta
        _check(cfg, run)
        cfg = on_this_machine(cfg, asked)
        hardware = build_hardware(cfg)
        network, _ = build_network(cfg, _embed_dim(cfg, state), load=False)
    except UserError:
        raise
    # Settings that nobody could have trained with make torch raise nearly anything.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"'{run.config}' is no config of a run: {reason}. {REMEDY}") from error
    load_into(network, state, weights, remedy)
    network.to(torch.device(hardware.accelerator)).eval()
    if cfg.runtime.channels_last:
        network.to(memory_format=torch.channels_last)
    return FinishedRun(run, cfg, network, hardware, bool(views and not cfg.runtime.tta))


def _check(cfg: DictConfig, run: RunDir) -> None:
    """Refuse settings that no run was trained with."""
    try:
        build_classes(cfg)
        if cfg.data.name != "embeddings":
            build_preprocess(cfg)
    except UserError as error:
        raise UserError(f"'{run.config}' is no config of a run: {error}") from error


def _embed_dim(cfg: DictConfig, state: dict[str, torch.Tensor]) -> int | None:
    """Return the size of the embeddings that a run without images was trained on."""
    if cfg.data.name != "embeddings":
        return None
    return next((value.shape[1] for value in state.values() if value.ndim == 2), 1)
