"""The stages of a run: each is fitted once, and found again by a run that goes on."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from torch import nn

from leukemia.compose.model import (
    build_classifier,
    build_stage_data,
    build_stages,
    fitted_in,
    head_refit_stage,
    refit_stage,
)
from leukemia.compose.network import build_callbacks, build_network
from leukemia.data.datamodule import fit_workers
from leukemia.models.embedding import upper_of
from leukemia.models.weights import load_checkpoint, load_into
from leukemia.report.curves import read_history, write_history
from leukemia.runs.directory import RunDir, write_json
from leukemia.runs.environment import Sessions
from leukemia.runs.heldout import HeldOut, held_out
from leukemia.settings.settled import last_stage
from leukemia.training.callbacks import save_atomically
from leukemia.training.embedded import fit_closed_form, start
from leukemia.training.finetuning import Blend, NormsAtRest
from leukemia.training.stage import HEAD_REFIT, REFIT, History, Row, Stage, best_epoch, fit_stage

if TYPE_CHECKING:
    from leukemia.compose.data import Sources
    from leukemia.models.network import Network
    from leukemia.tracking.base import Trackers
    from leukemia.training.hardware import Hardware

ORDER = ("head", "finetune", HEAD_REFIT, REFIT)


class Fitting:
    """Fits the stages of a run.

    Args:
        run: its directory, which receives history.csv and the checkpoints.
        cfg: its settings.
        data: set up.
        hardware: where and in which precision.
        trackers: are told of every epoch.
        sessions: counts the time.
    """

    def __init__(
        self,
        run: RunDir,
        cfg: DictConfig,
        data: "Sources",
        hardware: "Hardware",
        trackers: "Trackers",
        sessions: Sessions,
    ) -> None:
        """Store the settings."""
        self.run, self.cfg, self.data = run, cfg, data
        self.hardware, self.trackers, self.sessions = hardware, trackers, sessions
        whole = last_stage(cfg) == "finetune"  # a head learns from a table in this process
        fit_workers(data, cfg.stage.finetune.batch_size if whole else 0)

    def fit(self, stage: Stage, network: "Network") -> None:
        """Fit one stage, or load what it left, into the network."""
        if self._load(stage.name, network):
            return
        # Of stages before it alone: what came after is found again with its own rows.
        before = ORDER[: ORDER.index(stage.name)]
        earlier = [row for row in self._rows() if row["stage"] in before]
        fitted = fitted_in(self.cfg, stage.name)
        rate = self.cfg.stage[fitted].optimizer.get("lr", math.nan)
        history = History(
            stage.name,
            earlier,
            self._write,
            remedy=f"start anew with a lower stage.{fitted}.optimizer.lr (it is {rate:g})",
        )
        data = build_stage_data(self.cfg, stage, self.data, network, self.hardware)
        part: nn.Module = network if fitted == "finetune" else network.head
        upper = fitted == "finetune" and bool(self.cfg.stage.finetune.upper)
        if upper:
            part = upper_of(network.backbone, network.head)[1]
        module = build_classifier(self.cfg, part, stage.name)
        blend: Blend | None = None
        if getattr(part, "closed_form", False):
            validated = None if stage.monitor is None else data
            fit_closed_form(module, validated, data.training_rows(), self.hardware, history)
        else:
            if fitted == "head":
                start(module, data.training_rows())
            blend = Blend(self.cfg.stage[fitted].get("blend"), part)
            if stage.name == REFIT:
                blend.known = self._share(fitted)
            calm = []
            if fitted == "finetune" and self.cfg.stage.finetune.frozen_norms:
                calm = [NormsAtRest("layer4" if upper else "backbone")]
            fit_stage(
                module,
                data,
                stage,
                self.hardware,
                self.run.checkpoints,
                history,
                more=[*calm, *build_callbacks(self.cfg)],
                loggers=self.trackers.loggers,
            )
            blend.settle(module, data, self.hardware)
        self.sessions.note()
        # With its rows, so that a history.csv that was lost meanwhile is known, and mended.
        state = {"stage": stage.name, "state_dict": network.state_dict(), "rows": history.rows}
        if blend is not None and blend.figures:
            found = {"share": blend.known, "nll": blend.figures}
            state["blend"] = found
            write_json(self.run.path / f"blend_{stage.name}.json", found)
        save_atomically(state, self._finished(stage.name))

    def _share(self, stage: str) -> float | None:
        """Return the share of the way that a stage was found best at, before its refit."""
        finished = self._finished(stage)
        if not finished.is_file():
            return None
        found = load_checkpoint(finished, "Remove it, and the stage is trained anew.").get("blend")
        return None if found is None else float(found["share"])

    def refit(self, stage: Stage, network: "Network") -> None:
        """Fit again, from the weights that the last stage began with, on both parts.

        That is training and validation together, for as many epochs as were best on validation.

        Args:
            stage: the last.
            network: receives the new weights.
        """
        epochs = best_epoch(self._rows(), stage) + 1
        anew, _ = build_network(self.cfg, self.data.embed_dim)
        anew.normalize.load_state_dict(network.normalize.state_dict())
        if stage.name == "finetune" and self.cfg.stage.head.refit and "head" in self.cfg.stages:
            head = build_stages(self.cfg)[0]
            self.fit(head_refit_stage(head, best_epoch(self._rows(), head) + 1), anew)
        elif stage.name == "finetune":
            self._load("head", anew)
        # Where nothing of a fine-tuning is kept, the weights are those of before.
        if stage.name != "finetune" or self._share(stage.name) != 0:
            self.fit(refit_stage(stage, epochs), anew)
        network.load_state_dict(anew.state_dict())

    def held_out(self, network: "Network") -> HeldOut | None:
        """Return `heldout.held_out`'s predictions; ``None`` where there are to be none."""
        cfg = self.cfg
        if not cfg.decisions.folds or "head" not in cfg.stages or cfg.runtime.tta:
            return None
        stage = build_stages(cfg)[0]
        closed = getattr(network.head, "closed_form", False)
        epochs = stage.epochs if closed else best_epoch(self._rows(), stage) + 1
        return held_out(cfg, self.data, network, stage, self.hardware, epochs=epochs)

    def _load(self, stage: str, network: "Network") -> bool:
        """Load what a finished stage left into the network; whether there is such a stage."""
        finished = self._finished(stage)
        if not finished.is_file():
            return False
        remedy = f"Remove it, and the stage {stage} is trained anew."
        state = load_checkpoint(finished, remedy)
        load_into(network, state["state_dict"], finished, remedy)
        rows = state.get("rows")
        if isinstance(rows, list) and self._rows()[: len(rows)] != rows:
            write_history(self.run.history, rows)
        return True

    def _finished(self, stage: str) -> Path:
        return self.run.checkpoints / f"{stage}.ckpt"

    def _rows(self) -> list[Row]:
        return read_history(self.run.history) if self.run.history.is_file() else []

    def _write(self, rows: list[Row]) -> None:
        self.sessions.note(every=1.0)
        write_history(self.run.history, rows)
        self.trackers.log(rows)
