"""Weights & Biases: one run for all stages, on one step axis, gone on with after a kill."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import uuid4

import numpy as np
import wandb
from lightning.pytorch.loggers import WandbLogger
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.measure.predictions import Predictions
from leukemia.report.mistakes import worst_mistakes
from leukemia.runs.directory import RunDir
from leukemia.runs.plain import read_text
from leukemia.tracking.base import (
    CURVES,
    EPOCH,
    History,
    Metrics,
    curves,
    not_in_history,
    scalars,
)

if TYPE_CHECKING:
    from leukemia.data.datamodule import ArrayDataModule

Mode = Literal["online", "offline", "disabled"]

_MODES: dict[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "run": "online",  # the last two are old names that W&B still takes
    "dryrun": "offline",
}
_CONNECT = 30  # seconds to wait for the server at the start


def choose_mode() -> Mode:
    """How W&B runs here: as WANDB_MODE says; else online when logged in, offline otherwise.

    Raises:
        UserError: an unknown WANDB_MODE, a key of no valid form, or ``online`` without a login.
    """
    asked = os.environ.get("WANDB_MODE")
    if asked and asked not in _MODES:
        raise UserError(
            f"Expected WANDB_MODE to be online, offline or disabled, but got '{asked}'."
        )
    try:
        settings = wandb.setup(wandb.Settings(silent=True)).settings
        mode = _MODES.get(settings.mode, "online")
        if mode != "online" or wandb.login(prompt=False, verify=False):
            return mode
    except wandb.Error as error:
        raise UserError(f"W&B cannot log in: {str(error).splitlines()[0]}") from error
    if asked:
        raise UserError(
            "WANDB_MODE=online needs a login: run `wandb login`, set WANDB_API_KEY, or unset "
            "WANDB_MODE to go offline."
        )
    return "offline"


class _Beside(WandbLogger):
    """Lightning's logger of the same W&B run, for what callbacks log beside the epochs."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send what is not in history.csv, together with the next epoch."""
        if found := not_in_history(metrics):
            self.experiment.log(found, commit=False)


class WandbTracker:
    """One W&B run.

    Args:
        cfg: the settings.
        run: the run directory, which also receives W&B's own files and the id of the W&B run.
        project: of W&B.
        group: of runs; ``None`` for the study's name.
        tags: beside the names of data and model.
        mistakes: rows, with images, in the table of each part's worst; 0 sends no image.
        artifacts: send best.ckpt and split.csv.
        timeout: seconds to wait at the end for what is not sent yet.
    """

    def __init__(
        self,
        cfg: DictConfig,
        run: RunDir,
        project: str = "leukemia",
        group: str | None = None,
        tags: Sequence[str] = (),
        mistakes: int = 32,
        artifacts: bool = False,
        timeout: float = 300,
    ) -> None:
        """Start the W&B run, or go on with the one that the run directory names.

        A server that does not answer makes it offline.
        """
        self.mistakes, self.artifacts, self.timeout = mistakes, artifacts, timeout
        self.files = run
        mode = choose_mode()
        if not run.wandb_id.is_file():
            write_text(run.wandb_id, uuid4().hex[:8])
        folder = run.path.absolute()
        study = OmegaConf.select(cfg, "study.name")
        # Hydra numbers the jobs of a multirun.
        self.trial = study is not None or folder.name.isdecimal()
        identity = {
            "id": _id_of(run),
            "resume": "allow",
            "project": project,
            "group": group or study or (folder.parent.name if self.trial else None),
            "name": f"{folder.parent.name}/{folder.name}" if self.trial else folder.name,
            "job_type": "+".join(cfg.stages),
            "tags": [cfg.data.name, cfg.model.name, *tags],
            "config": cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)),
        }
        _put_aside(folder / "wandb", str(identity["id"]))
        self.run = _start({**identity, "dir": folder}, mode, timeout)
        self.run.define_metric(EPOCH, hidden=True)
        self.run.define_metric(f"{CURVES}/*", step_metric=EPOCH)
        # The server knows how far an earlier part of this run came. An offline part knows nothing,
        # and holds every epoch itself.
        self.sent = self.run.starting_step
        if not self.run.offline:
            _tell(f"W&B: {self.run.project_url if self.trial else self.run.url}")

        self.logger = _Beside(experiment=self.run)

    def log(self, history: History) -> None:
        """Log the epochs that are new."""
        for step in range(self.sent, len(history)):
            self.run.log({EPOCH: step + 1, **curves(history[step])}, step=step, commit=True)
        self.sent = max(self.sent, len(history))

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Send the figures of each part, its charts, its worst mistakes, and the artifacts."""
        with _kept_in(self.files.path / "wandb"):
            for part, table in predictions.items():
                self.run.summary.update(scalars(metrics[part], part))
                mistakes = mistakes_table(part, table, data, self.mistakes)
                self.run.log({f"{part}/mistakes": mistakes, **charts(part, table)})
            if self.artifacts:
                self._send("model", self.files.checkpoints / "best.ckpt")
                self._send("split", self.files.split)

    def _send(self, kind: str, path: Path) -> None:
        artifact = wandb.Artifact(f"{kind}-{self.run.id}", kind)
        # Immutable: sent from where it lies, without a copy.
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
        self.run.log_artifact(artifact)

    def close(self, *, failed: bool) -> None:
        """End the W&B run: the next run of this process gets one of its own."""
        # One line for all trials of a study.
        where = self.files.path.parent / "*" if self.trial else self.files.path
        parts = "*".join(shlex.quote(text) for text in f"{where}/wandb/".split("*"))
        try:
            self.run.finish(exit_code=int(failed))
        except TimeoutError:
            _tell(
                f"W&B: not all was sent within {self.timeout} s; send the rest with: "
                f"wandb sync --include-online {parts}run-*"
            )
        if self.run.offline:
            _tell(f"W&B: offline; send it later with: wandb sync {parts}offline-run-*")


def _start(identity: dict[str, Any], mode: Mode, timeout: float) -> "wandb.Run":
    settings = wandb.Settings(
        silent=True,
        init_timeout=_CONNECT,
        finish_timeout=timeout,  # W&B would try for ever
        finish_timeout_raises=True,
    )
    try:
        return wandb.init(**identity, mode=mode, settings=settings)
    except wandb.Error as error:
        if mode != "online":
            raise
        _tell(f"W&B: the server cannot be used, so offline: {str(error).splitlines()[0]}")
        wandb.teardown()  # it still holds the run
    return wandb.init(**identity, mode="offline", settings=settings)


def _id_of(run: RunDir) -> str:
    """Return the id that the run directory holds; it becomes part of a path."""
    found = read_text(run.wandb_id, 1000).strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found):
        raise UserError(
            f"'{run.wandb_id}' holds no id of a W&B run, but '{found[:80]}': remove it, and the "
            f"run goes on as a new one there."
        )
    return found


def _put_aside(folder: Path, run_id: str) -> None:
    """Move what a killed run wrote offline out of the way of `wandb sync`.

    It may lack the last epochs, which a killed W&B never wrote. The part that is begun now holds
    them all; `wandb sync` of both would send them twice, or, before W&B 0.31, keep either.
    """
    for part in folder.glob(f"offline-run-*-{run_id}"):
        aside = folder / "superseded"
        aside.mkdir(exist_ok=True)
        part.rename(aside / part.name)


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Let W&B keep the images of its tables, until they are sent, in the run and not at home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]


@cache
def _tell(line: str) -> None:
    """Print a line once, however many trials this process runs."""
    print(line)


_SIDE = 256  # pixels, longest side of an image in a table


def charts(part: str, table: Predictions) -> dict[str, Any]:
    """Confusion matrix, ROC and precision-recall curve, by key: ``val/roc``.

    Args:
        part: comes before every key.
        table: the predictions. Without cancer, or without benign images, there are no curves;
            W&B thins those of many images out.
    """
    names = list(table.classes.names)
    found: dict[str, Any] = {
        f"{part}/confusion": wandb.plot.confusion_matrix(
            y_true=table.labels.tolist(),
            preds=table.predicted.tolist(),
            class_names=names,
            title=f"{part}: confusion",
        )
    }
    if table.classes.has_cancer and 0 < table.cancer.mean() < 1:
        shared: dict[str, Any] = {
            "y_true": table.cancer.astype(int),
            "y_probas": np.stack([1 - table.p_cancer, table.p_cancer], axis=1),
            "labels": [table.classes.benign_words, "cancer"],
            "classes_to_plot": [1],
        }
        found |= {
            f"{part}/roc": wandb.plot.roc_curve(**shared, title=f"{part}: ROC, cancer"),
            f"{part}/pr": wandb.plot.pr_curve(**shared, title=f"{part}: precision-recall, cancer"),
        }
    return found


def mistakes_table(
    part: str, table: Predictions, data: "ArrayDataModule", most: int
) -> "wandb.Table":
    """The worst mistakes, as `worst_mistakes` orders them.

    Args:
        part: whose rows ``table`` holds, in the order of ``data.parts``.
        table: the predictions.
        data: its images are shown, as the network saw them; embeddings have none.
        most: rows at most; with 0 no image leaves the machine.
    """
    worst = worst_mistakes(table, most)
    names = table.classes.names
    columns: list[str | int] = [
        "file",
        "label",
        "prediction",
        *(["p_cancer"] if table.classes.has_cancer else []),
        *(f"p_{name}" for name in names),
    ]
    rows = [
        [
            table.files[i],
            names[table.labels[i]],
            names[table.predicted[i]],
            *([float(table.p_cancer[i])] if table.classes.has_cancer else []),
            *table.probabilities[i].tolist(),
        ]
        for i in worst
    ]
    if data.array is None or data.embed_dim is not None:
        return wandb.Table(columns, rows)
    images = data.array[data.parts[part][worst]]
    return wandb.Table(
        ["image", *columns], [[_picture(x), *row] for x, row in zip(images, rows, strict=True)]
    )


def _picture(pixels: NDArray[np.uint8]) -> "wandb.Image":
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    return wandb.Image(image, file_type="jpg")
