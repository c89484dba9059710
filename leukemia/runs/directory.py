"""The run directory: what is written, where, and in which order.

It is data, and may come from a stranger: no link is followed out of it, its settings are plain
values, and a finished run is used as ``DONE`` says that it was, or not at all.
"""

import csv
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from leukemia.disk import create_text, write_text
from leukemia.errors import UserError
from leukemia.runs.plain import (
    check_inside,
    check_own,
    is_figure,
    note_own,
    read_figures,
    read_json,
    read_settings,
    walk,
)
from leukemia.settings.objects import check_trusted
from leukemia.text import as_cell, as_words

NEEDED: Final = (
    *("config.yaml", "environment.json", "split.csv", "history.csv", "metrics.json"),
    *("calibration.json", "predictions/val.csv", "checkpoints/best.ckpt"),
)
"""What every finished run holds."""

SEALED: Final = (
    *NEEDED,
    *("calibration_single_view.json", "ood.npz", "thumbnails.npy", "predictions/*.csv"),
)
"""What a finished run is used by: ``DONE`` has the checksums of these."""

_LEFT: Final = re.compile(r"\.[0-9a-f]{32}\.tmp")  # of `leukemia.disk`, where it was killed
_GROUPS: Final = (
    *("data", "split", "stain", "mask", "crop", "augment"),
    *("model", "stage", "loss", "schedule", "trainer", "runtime", "report"),
)


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
    def held_out(self) -> Path:
        """Of training and validation: predictions by heads that did not learn from them."""
        return self.predictions("held_out")

    @property
    def calibration(self) -> Path:
        """Temperature and thresholds."""
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
            UserError: the folder holds a run by now, or a link out of it.
        """
        check_inside(self.path)
        text = OmegaConf.to_yaml(cfg, resolve=True)
        note_own(self.config, text)
        try:
            create_text(self.config, text)
        except FileExistsError:
            self.check_new()

    @contextmanager
    def held(self, *, wait: bool = False) -> Iterator[None]:
        """Keep other processes from writing into the run meanwhile; what kills left is removed.

        Args:
            wait: for the end of another process, as where each writes files of its own.

        Raises:
            UserError: another one does, or the directory cannot be written.
        """
        check_inside(self.path)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise UserError(
                f"'{self.path}' is being trained by another process: wait for its end, or stop it."
            ) from error
        except OSError as error:
            raise UserError(f"'{self.path}' cannot be written: {error.strerror}.") from error
        try:
            sweep(self.path)
            yield
        finally:
            lock.release()

    def write_skipped(self, rows: Sequence[tuple[str, str]]) -> None:
        """Write the files that were left out, and why."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("file", "reason"))
        writer.writerows((as_cell(file), as_words(reason)) for file, reason in rows)
        write_text(self.skipped, out.getvalue())

    def drop_states(self) -> None:
        """Remove what a finished run needs no more, several times the size of its weights."""
        for path in self.checkpoints.glob("*.ckpt"):
            if path.name != "best.ckpt":
                path.unlink()

    def finish(self) -> None:
        """Write the marker, last: the time, and the sha256 of each file that is there of `SEALED`.

        Raises:
            UserError: one that every finished run holds is not there.
        """
        files = {name: sha256_of(self.path / name) for name in self._present()}
        if missing := [name for name in NEEDED if name not in files]:
            raise UserError(
                f"'{self.path}' cannot be finished: {', '.join(missing)} was removed from it "
                f"meanwhile. Train the run anew."
            )
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        write_json(self.path / "DONE", {"finished": when, "sha256": files})

    def verify(self, *names: str) -> None:
        """Refuse a finished run whose files are not those that it was finished with.

        All of them, 47 MB of weights of a ResNet18 and the thumbnails of 2,604 images among them,
        take 0.034 s of a processor with instructions for it (`sha_ni`), and 0.1 s of one without.

        Args:
            names: of files below it, each of `SEALED`; all of them by default.

        Raises:
            UserError: one is missing, another or new; ``DONE`` is damaged or has no checksums.
        """
        check_inside(self.path)
        listed = self._seal()
        present = self._present()
        for name in names or dict.fromkeys([*listed, *present]):
            if name in listed and name not in present:
                wrong = "is missing"
            elif name in present and name not in listed:
                wrong = "was added"
            elif name in present and sha256_of(self.path / name) != listed[name]:
                wrong = "has changed (its sha256 is another)"
            else:
                continue
            raise UserError(
                f"'{self.path / name}' {wrong} since the run was finished: bring the run back from "
                f"a copy, or train it anew."
            )

    def reopen(self) -> str:
        """Return what to say to who wants to go on with a finished run, swept and verified.

        Raises:
            UserError: as `verify`, or another process writes into it.
        """
        if not os.access(self.path, os.W_OK):
            self.verify()
            return f"{self.path} is finished already."
        with self.held():
            self.verify()
        return f"{self.path} is finished already."

    def _present(self) -> list[str]:
        found = (path for pattern in SEALED for path in sorted(self.path.glob(pattern)))
        names = (path.relative_to(self.path).as_posix() for path in found if path.is_file())
        return list(dict.fromkeys(names))

    def _seal(self) -> dict[str, str]:
        """Return the sha256 by file that ``DONE`` lists."""
        files = read_json(self.path / "DONE").get("sha256")
        strings = isinstance(files, dict) and all(isinstance(one, str) for one in files.values())
        if not isinstance(files, dict) or not strings or not set(NEEDED) <= set(files):
            raise UserError(
                f"'{self.path / 'DONE'}' is damaged: bring it back from a copy, or remove it and "
                f"go on with resume={self.path}."
            )
        return files

    def figures(self, part: str) -> dict[str, Any]:
        """Return the figures of a part, as metrics.json has them; a finished run is verified.

        Raises:
            UserError: they are not there, or changed since the run was finished.
        """
        if self.done:
            self.verify("metrics.json")
        return read_figures(self.metrics, part)

    def conditions(self) -> dict[str, Any]:
        """Return environment.json; of a finished run it is verified.

        Raises:
            UserError: it is not there, or changed since the run was finished.
        """
        if self.done:
            self.verify("environment.json")
        found = read_json(self.environment)
        if not is_figure(found.get("wall_seconds")):
            raise UserError(
                f"'{self.environment}' holds no wall_seconds: bring it back from a copy, or train "
                f"the run anew."
            )
        return found


def sweep(folder: Path) -> None:
    """Remove the files that kills left half written below a folder; for who holds its lock."""
    for path in walk(folder):
        half = path.suffix == ".partial" and path.parent.name == "checkpoints"
        if (half or _LEFT.fullmatch(path.name)) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the checksum of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error


def open_run(path: Path, *, trust: bool = False) -> tuple[RunDir, DictConfig]:
    """Return a run directory and its settings; those of a finished run are verified.

    Args:
        path: of the directory.
        trust: whether its settings may name classes of other packages: to be used, or because
            nothing is made of them.

    Raises:
        UserError: it is no run directory, its settings are no plain ones, or a link leads out.
    """
    run = RunDir(path)
    if not run.config.is_file():
        raise UserError(
            f"Expected '{path}' to be a run directory, but it holds no config.yaml: "
            f"name a folder that leukemia.train wrote."
        )
    check_inside(path)
    if run.done:
        run.verify("config.yaml")
    cfg = read_settings(run.config)
    if wrong := [name for name in _GROUPS if not isinstance(cfg.get(name), DictConfig)]:
        raise UserError(
            f"'{run.config}' is no config of a run: it holds no settings {', '.join(wrong)}. Bring "
            f"it back from a copy, or train the run anew."
        )
    if not run.done:
        check_own(run.config)
    if not trust:
        check_trusted(cfg, str(path))
    OmegaConf.set_struct(cfg, True)  # what is missing is then named
    return run, cfg


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, indented; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
