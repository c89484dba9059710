"""The stages of a run: each is fitted once, and found again by a run that goes on."""

from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig

from leukemia.build.model import build_classifier, build_stage_data, is_discriminant, refit_stage
from leukemia.build.network import build_network
from leukemia.model.checkpoint import save_atomically
from leukemia.model.discriminant import fit_discriminant_stage
from leukemia.model.fit import History, Row, Stage, best_epoch, fit_stage
from leukemia.report.history import read_history, write_history
from leukemia.run import RunDir
from leukemia.tracking import Trackers

if TYPE_CHECKING:
    from leukemia.build.data import Sources
    from leukemia.model.hardware import Hardware
    from leukemia.model.network import Network


class Fitting:
    """Fits the stages of a run.

    Args:
        run: its directory, which receives history.csv and the checkpoints.
        cfg: its settings.
        data: set up.
        hardware: where and in which precision.
        trackers: are told of every epoch.
    """

    def __init__(
        self,
        run: RunDir,
        cfg: DictConfig,
        data: "Sources",
        hardware: "Hardware",
        trackers: Trackers,
    ) -> None:
        """Store the settings."""
        self.run, self.cfg, self.data = run, cfg, data
        self.hardware, self.trackers = hardware, trackers

    def fit(self, stage: Stage, network: "Network") -> None:
        """Fit one stage, or load what it left, into the network."""
        finished = self.run.checkpoints / f"{stage.name}.ckpt"
        if finished.is_file():
            state = torch.load(finished, map_location="cpu", weights_only=True)
            network.load_state_dict(state["state_dict"])
            return
        earlier = [row for row in self._rows() if row["stage"] != stage.name]
        history = History(stage.name, earlier, self._write)
        data = build_stage_data(self.cfg, stage, self.data, network, self.hardware)
        part = network if stage.name == "finetune" else network.head
        module = build_classifier(self.cfg, part, stage.name)
        if stage.name != "finetune" and is_discriminant(self.cfg):
            validated = None if stage.monitor is None else data
            known = data.training_rows()
            fit_discriminant_stage(module, validated, known, self.hardware, history)
        else:
            fit_stage(module, data, stage, self.hardware, self.run.checkpoints, history)
        save_atomically({"stage": stage.name, "state_dict": network.state_dict()}, finished)

    def refit(self, stage: Stage, network: "Network") -> None:
        """Fit the head again, from its first weights, on training and validation together.

        It takes as many epochs as the head had at its best on validation.

        Args:
            stage: the head's.
            network: receives the new head.
        """
        epochs = best_epoch(self._rows(), stage) + 1
        anew, _ = build_network(self.cfg, self.data.embed_dim)
        self.fit(refit_stage(self.cfg, epochs), anew)
        network.head.load_state_dict(anew.head.state_dict())

    def _rows(self) -> list[Row]:
        return read_history(self.run.history) if self.run.history.is_file() else []

    def _write(self, rows: list[Row]) -> None:
        write_history(self.run.history, rows)
        self.trackers.log(rows)
