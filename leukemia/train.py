"""Train a classifier and leave a finished run directory: ``python -m leukemia.train``."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from leukemia import cli
from leukemia.atomic import write_array, write_text
from leukemia.errors import UserError
from leukemia.run import RunDir, environment, open_run, write_json

if TYPE_CHECKING:
    from leukemia.build.data import Sources
    from leukemia.model.fit import Row, Stage
    from leukemia.model.hardware import Hardware
    from leukemia.model.network import Network
    from leukemia.report.predictions import Predictions
    from leukemia.tracking import Metrics, Trackers

NOT_LEAKPROOF = (
    "Parts are disjoint in files and identical copies, not in patients: no patient ids exist."
)


def main() -> None:
    """Run the command line."""
    cli.run_verb(train, "train")


def train(cfg: DictConfig) -> None:
    """Train the stages of a config, or go on with the run directory of ``resume``."""
    if cfg.resume is None:
        run = RunDir(Path(cli.output_dir()))
        if cfg.open_test is None:
            cfg.open_test = not cli.is_multirun()
        run.check_new()
        for key in ("root", "file"):  # so that the run can be used from any working directory
            if cfg.data.get(key) is not None:
                cfg.data[key] = str(Path(cfg.data[key]).expanduser().absolute())
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


class Training:
    """One run, from settings to DONE.

    Args:
        run: its directory.
        cfg: its settings.
    """

    def __init__(self, run: RunDir, cfg: DictConfig) -> None:
        """Store the settings."""
        self.run, self.cfg = run, cfg
        self.began = time.monotonic()
        self.notes: list[str] = []

    def run_all(self) -> None:
        """Prepare, train every stage, predict, and write what a run leaves."""
        # Imported here, so that help and printed configs never wait for torch.
        from leukemia.build.data import build_data
        from leukemia.build.describe import map_method
        from leukemia.build.model import build_loss, build_stages
        from leukemia.build.network import build_hardware, build_network
        from leukemia.data.datamodule import SmearDataModule
        from leukemia.data.overlap import thumbnails
        from leukemia.data.split import write_split
        from leukemia.tracking import check_loggers, make_trackers

        cfg = self.cfg
        hardware, stages = build_hardware(cfg), build_stages(cfg)
        build_loss(cfg)
        map_method(cfg)
        check_loggers(cfg)
        data = build_data(cfg)
        data.prepare_data()
        data.setup("fit")
        network, said = build_network(cfg, data.embed_dim)
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
            rows = sorted(row for part in data.parts.values() for row in part)
            write_array(self.run.thumbnails, thumbnails(pixels[row] for row in rows))
        with make_trackers(cfg, self.run) as trackers:
            for stage in stages:
                self._run_stage(stage, data, network, hardware, trackers)
            trackers.conclude(*self._finish(data, network, hardware), data)
        self.run.finish()

    def _note(self, said: str, data: "Sources") -> None:
        sizes = {part: len(rows) for part, rows in data.split.parts.items()}
        self.notes += [said, f"split={self.cfg.split.name}: {sizes}", *data.split.notes]
        if self.cfg.data.name == "synthetic":
            self.notes.append(
                "PAINTED SMEARS: these figures show that the framework works and say nothing "
                "about leukemia. Set LEUKEMIA_DATA to train on real images."
            )
        else:
            self.notes.append(NOT_LEAKPROOF)
        if skipped := data.manifest.skipped:
            self.run.write_skipped([(bad.path, bad.reason) for bad in skipped])
            self.notes.append(
                f"{len(skipped)} unreadable files left out, listed in {self.run.skipped.name}."
            )
        print(*self.notes[:2], sep="\n")

    def _run_stage(
        self,
        stage: "Stage",
        data: "Sources",
        network: "Network",
        hardware: "Hardware",
        trackers: "Trackers",
    ) -> None:
        import torch

        from leukemia.build.model import build_classifier, build_stage_data
        from leukemia.model.fit import History, fit_stage, save_atomically
        from leukemia.report.history import read_history, write_history

        finished = self.run.checkpoints / f"{stage.name}.ckpt"
        if finished.is_file():
            network.load_state_dict(torch.load(finished, weights_only=True)["state_dict"])
            return
        earlier = read_history(self.run.history) if self.run.history.is_file() else []

        def write(rows: "list[Row]") -> None:
            write_history(self.run.history, rows)
            trackers.log(rows)

        history = History(stage.name, [r for r in earlier if r["stage"] != stage.name], write)
        stage_data = build_stage_data(self.cfg, stage, data, network, hardware)
        part = network if stage_data is data and stage.name == "finetune" else network.head
        module = build_classifier(self.cfg, part, stage.name)
        fit_stage(module, stage_data, stage, hardware, self.run.checkpoints, history)
        save_atomically({"stage": stage.name, "state_dict": network.state_dict()}, finished)

    def _finish(
        self, data: "Sources", network: "Network", hardware: "Hardware"
    ) -> "tuple[Metrics, dict[str, Predictions]]":
        from leukemia.build.describe import describe_run, known_floors
        from leukemia.build.model import build_classifier
        from leukemia.data.datamodule import SmearDataModule
        from leukemia.model.fit import predict, save_atomically
        from leukemia.report.calibration import fit_calibration
        from leukemia.report.card import write_card
        from leukemia.report.findings import Findings
        from leukemia.report.history import read_history
        from leukemia.report.html import write_report
        from leukemia.report.metrics import summarize
        from leukemia.report.predictions import Predictions
        from leukemia.report.table import print_summary

        module = build_classifier(self.cfg, network)
        metrics: dict[str, dict[str, Any]] = {}
        predictions: dict[str, Predictions] = {}
        for part in ("val", "test") if self.cfg.open_test else ("val",):
            rows = data.parts[part]
            predictions[part] = Predictions(
                tuple(data.manifest.files[row] for row in rows),
                data.manifest.labels[rows],
                predict(module, data.loader(part), hardware),
                data.classes,
            )
            predictions[part].write(self.run.predictions(part))
            metrics[part] = summarize(predictions[part], data.split.groups[rows])
        calibration = fit_calibration(predictions["val"])
        write_json(self.run.calibration, calibration.to_dict())
        if module.tta and isinstance(data, SmearDataModule):
            module.tta = False
            scores = predict(module, data.loader("val"), hardware)
            single = fit_calibration(replace(predictions["val"], probabilities=scores))
            write_json(self.run.single_view_calibration, single.to_dict())
        save_atomically({"state_dict": network.state_dict()}, self.run.checkpoints / "best.ckpt")
        write_json(self.run.metrics, metrics)
        seen = environment(
            self.cfg.seed,
            device=f"{hardware.accelerator}, {hardware.precision}",
            seconds=time.monotonic() - self.began,
        )
        write_json(self.run.environment, seen)
        findings = Findings(
            title=f"{self.cfg.model.name} on {self.cfg.data.name}",
            metrics=metrics,
            predictions=predictions,
            history=read_history(self.run.history),
            config_yaml=OmegaConf.to_yaml(self.cfg, resolve=True),
            environment=seen,
            notes=self.notes,
            floors=known_floors(self.cfg),
            **describe_run(self.cfg, data, network, hardware, predictions, calibration),
        )
        write_report(self.run.report, findings)
        write_card(self.run.card, findings)
        print_summary(
            metrics,
            data.classes,
            {
                "run": self.run.path,
                "report": self.run.report,
                "model card": self.run.card,
                "predictions": self.run.predictions("val").parent,
            },
            self.notes[2:],
        )
        return metrics, predictions


if __name__ == "__main__":
    main()
