"""Train a classifier and leave a finished run directory: ``python -m leukemia.train``.

In Python the module is called: ``leukemia.train(["experiment=painted"])``.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from leukemia import cli, disk
from leukemia.disk import check_writable, write_array, write_text
from leukemia.errors import UserError
from leukemia.runs.directory import RunDir, open_run, write_json
from leukemia.runs.environment import Sessions, environment, together
from leukemia.runs.plain import write_own
from leukemia.settings.settled import (
    KEPT,
    choices_for,
    given,
    is_refitted,
    machine_of,
    settle,
    take_over,
)

if TYPE_CHECKING:
    from leukemia.compose.data import Sources
    from leukemia.measure.predictions import Predictions
    from leukemia.models.network import Network
    from leukemia.runs.predictor import Trained
    from leukemia.runs.stages import Fitting
    from leukemia.tracking.base import Metrics, Tracker
    from leukemia.training.hardware import Hardware
    from leukemia.training.stage import Stage


def main() -> None:
    """Run the command line."""
    sys.argv[1:1] = choices_for(sys.argv[1:])
    cli.run_verb(train, "train")


def train(cfg: DictConfig) -> None:
    """Train the stages of a config, or go on with the run directory of ``resume``."""
    if cfg.resume is not None:
        _go_on(cfg, cli.overrides())
        return
    run = RunDir(Path(cli.output_dir(cfg)))
    settle(cfg, multirun=cli.is_multirun())
    _settle_classes(cfg)
    if "study" in cfg:
        _try(run, cfg)
        return
    run.check_new()
    Training(run, cfg).run_all()


def train_by(
    overrides: Sequence[str] = (), config_dir: str | PathLike[str] | None = None
) -> "Trained":
    """Train by the settings of ``conf/``, as the command does, and return the run.

    Args:
        overrides: what would stand on the command line, such as ``["experiment=painted",
            "trainer.max_epochs=3", "hydra.run.dir=runs/first"]``.
        config_dir: a folder of settings of your own, as ``--config-dir`` of the command.

    Raises:
        UserError: what the command would say in one line.
    """
    from leukemia.runs.predictor import Trained  # here, so that the command's help is quick

    cfg, folder, words = cli.composed("train", overrides, config_dir)
    with disk.reported(folder):
        if cfg.resume is not None:
            _go_on(cfg, words)
        else:
            run = RunDir(folder)
            settle(cfg, multirun=False)
            _settle_classes(cfg)
            if "study" in cfg:
                raise UserError(
                    "A study is a command of its own: python -m leukemia.train -m study=..."
                )
            run.check_new()
            Training(run, cfg).run_all()
    return Trained(Path(cfg.resume or folder))


def _go_on(cfg: DictConfig, overrides: Sequence[str]) -> None:
    values = given(cfg, overrides)
    run = RunDir(Path(cfg.resume))
    if run.config.is_file() and run.done:
        print(run.reopen())
        return
    run, cfg = open_run(run.path, trust=cfg.trust)
    Training(run, cfg, values).run_all()


def _settle_classes(cfg: DictConfig) -> None:
    """Fix the classes, which may be those of the folders: config.yaml holds their names."""
    from leukemia.compose.preprocess import settle_classes

    settle_classes(cfg, cli.overrides())


def _try(run: RunDir, cfg: DictConfig) -> None:
    """Run a trial of a study, or go on with it; its settings were compared before."""
    from leukemia.study.trials import hold, stopped

    if stopped(run, cfg.study):
        cli.drop_if_empty()
        return
    with hold(run):
        if run.done:
            return
        values: dict[str, Any] = {}
        if run.config.exists():
            here = cfg
            run, cfg = open_run(run.path, trust=True)  # its settings were compared
            values = machine_of(here, cfg)
        Training(run, cfg, values).run_all()


class Training:
    """One run, from settings to DONE.

    Args:
        run: its directory.
        cfg: its settings.
        values: settings of the machine that differ here and now, see `leukemia.settings.settled`.
    """

    def __init__(
        self, run: RunDir, cfg: DictConfig, values: Mapping[str, Any] | None = None
    ) -> None:
        """Store the settings."""
        self.run, self.resumed = run, run.config.exists()
        self.cfg = take_over(cfg, values or {})
        kept = {key: value for key, value in (values or {}).items() if key in KEPT}
        self.stored = take_over(cfg, kept) if kept else None
        self.began = time.monotonic()
        self.notes: list[str] = []
        self.quiet = "study" in cfg  # the study tells of its trials, and writes the report

    def run_all(self) -> None:
        """Take the steps of a run; from the first thing written on, it is held."""
        hardware, stages = self._check()
        data = self._read()
        network, said = self._make_network(data)
        with self.run.held():
            if self.run.done:  # by another process meanwhile
                print(f"{self.run.path} is finished already.")
                return
            self._begin(data, network)
            sessions = Sessions(self.run, _words(hardware), self.began)
            self._tell(said, data)
            self._fit_and_finish(hardware, stages, data, network, sessions)
            self._check_whole(data, sessions)
            self.run.finish()
            sessions.close()
            if not self.cfg.runtime.keep_last:
                self.run.drop_states()

    def _check(self) -> "tuple[Hardware, list[Stage]]":
        """Refuse what can be told wrong before anything is read, or computed for nothing."""
        # Imported here, as in all steps, so that help and printed configs never wait for torch.
        from leukemia.compose.model import build_stages, check_settings
        from leukemia.compose.network import build_hardware
        from leukemia.runs.pages import map_method
        from leukemia.tracking.loggers import check_loggers

        check_settings(self.cfg)
        map_method(self.cfg)
        check_loggers(self.cfg)
        check_writable(self.run.path, "Name another hydra.run.dir, or make room there.")
        return build_hardware(self.cfg), build_stages(self.cfg)

    def _read(self) -> "Sources":
        """Read the images and divide them; the cache alone is written."""
        from leukemia.compose.data import build_data
        from leukemia.data.datamodule import SmearDataModule

        data = build_data(self.cfg)
        if self.resumed and isinstance(data, SmearDataModule):
            data.on_bad = "skip"  # one that went bad is named when the split is compared
        data.prepare_data()
        data.setup("fit")
        return data

    def _make_network(self, data: "Sources") -> "tuple[Network, str]":
        from leukemia.compose.network import build_network, fit_normalization
        from leukemia.data.datamodule import SmearDataModule

        network, said = build_network(self.cfg, data.embed_dim)
        if isinstance(data, SmearDataModule):
            fit_normalization(self.cfg, network, data.pixels()[0], data.parts["train"])
        return network, said

    def _begin(self, data: "Sources", network: "Network") -> None:
        """Write what a run begins with, or compare what it began with: its images above all.

        ``split.csv`` comes before ``config.yaml``, which makes the folder a run: whatever a kill
        leaves, a run that can be gone on with knows its images, and its backbone's weights.
        """
        from leukemia.data.datamodule import SmearDataModule
        from leukemia.data.split.guard import thumbnails
        from leukemia.data.split.parts import check_same, split_text
        from leukemia.models.embedding import state_hash

        split = split_text(data.split, data.manifest, data.classes)
        skipped = [(bad.path, bad.reason) for bad in data.manifest.skipped]
        if self.resumed:
            check_same(self.run.split, split, dict(skipped))
        else:
            self.run.check_new()
            write_text(self.run.split, split)
        weights = OmegaConf.select(self.cfg, "model.backbone.weights")
        if weights is not None and data.embed_dim is None:  # without, the seed draws them
            self._compare(weights, state_hash(network.backbone))
        if skipped:
            self.run.write_skipped(skipped)
        if isinstance(data, SmearDataModule):
            rows = sorted(row for part in data.parts.values() for row in part)
            pixels = data.pixels()[0]
            write_array(self.run.thumbnails, thumbnails(pixels[row] for row in rows))
        if not self.resumed:
            self.run.start(self.cfg)
        elif self.stored is not None:
            write_own(self.run.config, OmegaConf.to_yaml(self.stored, resolve=True))

    def _compare(self, weights: str, found: str) -> None:
        """Note the weights that a run begins with, or compare them: to go on takes the same."""
        noted = self.run.path / "backbone.sha256"
        if not self.resumed:
            write_text(noted, f"{found}\n")
        elif noted.is_file() and noted.read_text(encoding="utf-8").strip() != found:
            raise UserError(
                f"model.backbone.weights={weights} holds other weights than those that "
                f"'{self.run.path}' began with: bring those back, or start a new run."
            )

    def _fit_and_finish(
        self,
        hardware: "Hardware",
        stages: "Sequence[Stage]",
        data: "Sources",
        network: "Network",
        sessions: Sessions,
    ) -> None:
        from leukemia.runs.stages import Fitting
        from leukemia.tracking.loggers import make_trackers

        with make_trackers(self.cfg, self.run, self._pruner()) as trackers:
            fitting = Fitting(self.run, self.cfg, data, hardware, trackers, sessions)
            for stage in stages:
                fitting.fit(stage, network)
            trackers.conclude(*self._finish(fitting, stages[-1], network), data)

    def _pruner(self) -> "list[Tracker]":
        if OmegaConf.select(self.cfg, "study.pruner") is None:
            return []
        from leukemia.study.search import PruningTracker

        return [PruningTracker(self.cfg, self.run)]

    def _check_whole(self, data: "Sources", sessions: Sessions) -> None:
        """Refuse to call a run finished that lacks a file, as one whose folder was emptied.

        Raises:
            UserError: it does.
        """
        from leukemia.data.datamodule import SmearDataModule

        sessions.check_there()
        run = self.run
        files = [run.config, run.split, run.history, run.metrics, run.calibration]
        files += [run.environment, run.checkpoints / "best.ckpt", run.predictions("val")]
        files += [run.predictions("test")] if self.cfg.open_test else []
        files += [run.thumbnails, run.known] if isinstance(data, SmearDataModule) else []
        files += [] if self.quiet else [run.report, run.card]
        missing = [file.relative_to(run.path).as_posix() for file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"'{run.path}' lacks {', '.join(missing)}, which were removed while it was "
                f"trained: start anew with another hydra.run.dir."
            )

    def _tell(self, said: str, data: "Sources") -> None:
        sizes = {part: len(rows) for part, rows in data.split.parts.items()}
        self.notes += [said, f"split={self.cfg.split.name}: {sizes}"]
        if skipped := data.manifest.skipped:
            self.notes.append(
                f"{len(skipped)} unreadable files left out, listed in {self.run.skipped.name}."
            )
        if not self.quiet:
            print(*self.notes[:2], sep="\n")
        for warning in data.split.warnings:
            print(f"WARNING: {warning}", file=sys.stderr)

    def _finish(
        self, fitting: "Fitting", last: "Stage", network: "Network"
    ) -> "tuple[Metrics, dict[str, Predictions]]":
        from leukemia.compose.model import build_judge
        from leukemia.data.datamodule import SmearDataModule
        from leukemia.measure.calibration import fit_calibration
        from leukemia.measure.ood import fit_known
        from leukemia.report.html import print_summary
        from leukemia.runs.pages import caveats, describe_run, record, table_of, write_page
        from leukemia.training.callbacks import save_atomically
        from leukemia.training.stage import predict

        cfg, run, data, hardware = self.cfg, self.run, fitting.data, fitting.hardware
        fitting.sessions.check_there()
        module = build_judge(cfg, network)
        seen = {"val": predict(module, data.loader("val"), hardware)}
        if is_refitted(cfg):
            fitting.refit(last, network)
            if last.name == "finetune":  # to the backbone that is kept, images look different
                again = predict(module, data.loader("val"), hardware)
                seen["val"] = seen["val"]._replace(embeddings=again.embeddings)
        if cfg.open_test:
            seen["test"] = predict(module, data.loader("test"), hardware)
        found = {
            part: record(run, data, part, outputs.probabilities.numpy())
            for part, outputs in seen.items()
        }
        predictions = {part: table for part, (table, _) in found.items()}
        metrics = {part: figures for part, (_, figures) in found.items()}
        decided, decider = "val", predictions["val"]
        if (held := fitting.held_out(network)) is not None:
            decided, decider = run.held_out.stem, table_of(data, *held)
            decider.write(run.held_out)
        calibration = fit_calibration(decider, part=decided)
        write_json(run.calibration, calibration.to_dict())
        if isinstance(data, SmearDataModule):
            fit_known(seen["val"].embeddings.numpy()).save(run.known)
            if module.tta:
                scores = seen["val"].single.numpy()
                single = fit_calibration(replace(predictions["val"], probabilities=scores))
                write_json(run.single_view_calibration, single.to_dict())
        save_atomically({"state_dict": network.state_dict()}, run.checkpoints / "best.ckpt")
        write_json(run.metrics, metrics)
        where = environment(cfg.seed, device=_words(hardware), seconds=0.0)
        where |= together(fitting.sessions.all())
        write_json(run.environment, where)
        if self.quiet:
            return metrics, predictions
        self.notes += [*caveats(cfg, data.split), *data.split.notes]
        write_page(
            run,
            cfg,
            title=f"{cfg.model.name} on {cfg.data.name}",
            metrics=metrics,
            predictions=predictions,
            environment=where,
            notes=self.notes,
            shown=describe_run(cfg, data, seen, predictions, calibration),
        )
        print_summary(
            metrics,
            data.classes,
            {
                "run": run.path,
                "report": run.report,
                "model card": run.card,
                "predictions": run.predictions("val").parent,
            },
            self.notes[2:],
        )
        return metrics, predictions


def _words(hardware: "Hardware") -> str:
    return f"{hardware.accelerator}, {hardware.precision}"


class _Callable(ModuleType):
    """This module, which is a function too: ``leukemia.train`` is the one name of both."""

    def __call__(
        self, overrides: Sequence[str] = (), config_dir: str | PathLike[str] | None = None
    ) -> "Trained":
        return train_by(overrides, config_dir)


if __name__ == "__main__":
    main()
else:
    sys.modules[__name__].__class__ = _Callable
