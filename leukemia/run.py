"""The run directory: what is written, where, and in which order."""

import csv
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from leukemia.atomic import create_text, write_text
from leukemia.errors import UserError

# Settings that runs of earlier versions lack, with what those did.
_SINCE = {
    "mask.background": 0.0,
    "stain.method": "none",
    "stain.grey": False,
    "stage.head.refit": False,
    "stage.finetune.refit": False,
    "trainer.save_every": 0.0,
    "trainer.keep_last": True,
}


@dataclass(frozen=True)
class RunDir:
    """Names of the files of a run: scripts elsewhere read them.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings, plain values."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, commit, hardware, seed, wall time and peak memory."""
        return self.path / "environment.json"

    @property
    def split(self) -> Path:
        """One row a file: file, sha256, label, group, part."""
        return self.path / "split.csv"

    @property
    def checkpoints(self) -> Path:
        """best.ckpt, last.ckpt, and one file a finished stage."""
        return self.path / "checkpoints"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def metrics(self) -> Path:
        """Figures by part."""
        return self.path / "metrics.json"

    @property
    def calibration(self) -> Path:
        """Temperature and thresholds, fitted on validation."""
        return self.path / "calibration.json"

    @property
    def single_view_calibration(self) -> Path:
        """The same without test-time views, where the run predicts with them."""
        return self.path / "calibration_single_view.json"

    @property
    def known(self) -> Path:
        """Embeddings of validation, to tell what is out of distribution."""
        return self.path / "ood.npz"

    @property
    def thumbnails(self) -> Path:
        """Grey thumbnails of the images of split.csv, row by row, to know them again."""
        return self.path / "thumbnails.npy"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def wandb_id(self) -> Path:
        """The id of the W&B run, which a resumed run goes on with."""
        return self.path / "wandb.id"

    @property
    def card(self) -> Path:
        """What the model is for, what it is not, and what was not shown."""
        return self.path / "MODEL_CARD.md"

    @property
    def skipped(self) -> Path:
        """Files left out under data.on_bad=skip."""
        return self.path / "skipped.csv"

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.path / "DONE").is_file()

    def predictions(self, part: str) -> Path:
        """Probabilities of one part."""
        return self.path / "predictions" / f"{part}.csv"

    def check_new(self) -> None:
        """Refuse a folder that holds a run.

        Raises:
            UserError: it does.
        """
        if self.config.exists():
            raise UserError(
                f"'{self.path}' holds a run already: go on with resume={self.path}, "
                f"or choose another hydra.run.dir."
            )

    def start(self, cfg: DictConfig) -> None:
        """Create the folder and write the settings.

        Raises:
            UserError: the folder holds a run by now.
        """
        try:
            create_text(self.config, OmegaConf.to_yaml(cfg, resolve=True))
        except FileExistsError:
            self.check_new()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from going on with the run meanwhile.

        Raises:
            UserError: another one does.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"'{self.path}' is being trained by another process: wait for its end, or stop it."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def write_skipped(self, rows: Sequence[tuple[str, str]]) -> None:
        """Write the files that were left out, and why."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([("file", "reason"), *rows])
        write_text(self.skipped, out.getvalue())

    def drop_states(self) -> None:
        """Remove what a finished run needs no more, several times the size of its weights."""
        for path in self.checkpoints.glob("*.ckpt"):
            if path.name != "best.ckpt":
                path.unlink()

    def finish(self) -> None:
        """Write the marker, last."""
        write_text(self.path / "DONE", time.strftime("%Y-%m-%dT%H:%M:%S%z\n"))


def open_run(path: Path) -> tuple[RunDir, DictConfig]:
    """Return a run directory and its settings.

    Raises:
        UserError: it is no run directory.
    """
    run = RunDir(path)
    if not run.config.is_file():
        raise UserError(
            f"Expected '{path}' to be a run directory, but it holds no config.yaml: "
            f"name a folder that leukemia.train wrote."
        )
    cfg = OmegaConf.load(run.config)
    if not isinstance(cfg, DictConfig):
        raise UserError(f"'{run.config}' is no config of a run.")
    for key, value in _SINCE.items():
        if OmegaConf.select(cfg, key) is None:
            OmegaConf.update(cfg, key, value)
    return run, cfg


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, indented; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
