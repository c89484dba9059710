"""Train a classifier and leave a finished run directory: ``python -m leukemia.train``."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from leukemia import cli
from leukemia.atomic import write_array, write_text
from leukemia.environment import environment
from leukemia.errors import UserError
from leukemia.run import RunDir, open_run, write_json
from leukemia.settings import is_refitted, settle

if TYPE_CHECKING:
    from leukemia.build.data import Sources
    from leukemia.fitting import Fitting
    from leukemia.model.fit import Stage
    from leukemia.model.network import Network
    from leukemia.report.predictions import Predictions
    from leukemia.tracking import Metrics


def main() -> None:
    """Run the command line."""
    cli.run_verb(train, "train")


def train(cfg: DictConfig) -> None:
    """Train the stages of a config, or go on with the run directory of ``resume``."""
    if cfg.resume is None:
        run = RunDir(Path(cli.output_dir(cfg)))
        settle(cfg, multirun=cli.is_multirun())
        if "study" in cfg:
            _try(run, cfg)
            return
        run.check_new()
    else:
        others = [text for text in cli.overrides() if not text.startswith("resume=")]
        if others:
            raise UserError(
                f"resume= goes on with the run's own settings, but got also {others}: drop them."
            )
        run, cfg = open_run(Path(cfg.resume))
        if run.done:
            print(f"{run.path} is finished already.")
            return
    Training(run, cfg).run_all()


def _try(run: RunDir, cfg: DictConfig) -> None:
    """Run a trial of a study, or go on with it; its settings were compared before."""
    from leukemia.trials import hold, stopped

    if stopped(run, cfg.study):
        cli.drop_if_empty()
        return
    with hold(run):
        if run.done:
            return
        if run.config.exists():
            run, cfg = open_run(run.path)
        Training(run, cfg).run_all()


class Training:
    """One run, from settings to DONE.

    Args:
        run: its directory.
        cfg: its settings.
    """

    def __init__(self, run: RunDir, cfg: DictConfig) -> None:
        """Store the settings."""
        self.run, self.cfg, self.resumed = run, cfg, run.config.exists()
        self.began = time.monotonic()
        self.notes: list[str] = []
        self.quiet = "study" in cfg  # the study tells of its trials, and writes the report

    def run_all(self) -> None:
        """Prepare, train every stage, predict, and write what a run leaves."""
        # Imported here, so that help and printed configs never wait for torch.
        from leukemia.build.data import build_data
        from leukemia.build.describe import map_method
        from leukemia.build.model import build_stages, check_settings
        from leukemia.build.network import build_hardware, build_network, fit_normalization
        from leukemia.data.datamodule import SmearDataModule
        from leukemia.data.overlap import thumbnails
        from leukemia.data.parts import write_split
        from leukemia.fitting import Fitting
        from leukemia.tracking import check_loggers, make_trackers

        cfg = self.cfg
        check_settings(cfg)
        map_method(cfg)
        check_loggers(cfg)
        hardware, stages = build_hardware(cfg), build_stages(cfg)
        data = build_data(cfg)
        data.prepare_data()
        data.setup("fit")
        network, said = build_network(cfg, data.embed_dim)
        if not self.resumed:
            self.run.start(cfg)
        before = self.run.split.read_text() if self.run.split.exists() else None
        write_split(self.run.split, data.split, data.manifest, data.classes)
        if before not in (None, self.run.split.read_text()):
            write_text(self.run.split, str(before))
            raise UserError(
                f"The images are no longer those that '{self.run.split}' lists: bring them back, "
                f"or start a new run."
            )
        self._note(said, data)
        if isinstance(data, SmearDataModule):
            pixels = data.pixels()[0]
            fit_normalization(cfg, network, pixels, data.parts["train"])
            rows = sorted(row for part in data.parts.values() for row in part)
            write_array(self.run.thumbnails, thumbnails(pixels[row] for row in rows))
        with self.run.held(), make_trackers(cfg, self.run) as trackers:
            fitting = Fitting(self.run, cfg, data, hardware, trackers)
            for stage in stages:
                fitting.fit(stage, network)
            trackers.conclude(*self._finish(fitting, stages[-1], network), data)
        self.run.finish()
        if not self.cfg.trainer.keep_last:
            self.run.drop_states()

    def _note(self, said: str, data: "Sources") -> None:
        sizes = {part: len(rows) for part, rows in data.split.parts.items()}
        self.notes += [said, f"split={self.cfg.split.name}: {sizes}"]
        if skipped := data.manifest.skipped:
            self.run.write_skipped([(bad.path, bad.reason) for bad in skipped])
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
        from leukemia.build.describe import describe_run
        from leukemia.build.model import build_classifier
        from leukemia.data.datamodule import SmearDataModule
        from leukemia.model.checkpoint import save_atomically
        from leukemia.model.fit import predict
        from leukemia.report.calibration import fit_calibration
        from leukemia.report.ood import fit_known
        from leukemia.report.table import print_summary
        from leukemia.results import caveats, record, write_page

        cfg, run, data, hardware = self.cfg, self.run, fitting.data, fitting.hardware
        module = build_classifier(cfg, network)
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
        calibration = fit_calibration(predictions["val"])
        write_json(run.calibration, calibration.to_dict())
        if isinstance(data, SmearDataModule):
            fit_known(seen["val"].embeddings.numpy()).save(run.known)
            if module.tta:
                scores = seen["val"].single.numpy()
                single = fit_calibration(replace(predictions["val"], probabilities=scores))
                write_json(run.single_view_calibration, single.to_dict())
        save_atomically({"state_dict": network.state_dict()}, run.checkpoints / "best.ckpt")
        write_json(run.metrics, metrics)
        where = environment(
            cfg.seed,
            device=f"{hardware.accelerator}, {hardware.precision}",
            seconds=time.monotonic() - self.began,
        )
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


if __name__ == "__main__":
    main()
