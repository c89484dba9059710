"""Trials of a study: which are still to run, one process to each, what failed, folds pooled."""

import gc
import shutil
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from leukemia.classes import CANCER_FIGURES
from leukemia.disk import reported, write_text
from leukemia.errors import Pruned, UserError
from leukemia.measure.intervals import shown
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions
from leukemia.runs.directory import RunDir, open_run, write_json
from leukemia.runs.plain import read_figures
from leukemia.settings.settled import difference, settle
from leukemia.study.page import POOLED, fold_part, folds_file
from leukemia.study.record import (
    DONE,
    FOLD,
    Rule,
    Study,
    Trial,
    error_file,
    pruned_file,
    read_study,
    study_file,
    trial_folder,
    write_record,
)


def check_folds(
    study: DictConfig, varied: Sequence[dict[str, str]], cfgs: Sequence[DictConfig]
) -> None:
    """Refuse trials whose held-out parts are not the folds of one division, each once.

    Args:
        study: the settings ``study``.
        varied: what each trial varies.
        cfgs: the settings of each trial.

    Raises:
        UserError: they are not.
    """
    if other := sorted({key for trial in varied for key in trial} - {FOLD}):
        raise UserError(
            f"A study of folds takes one setting, but got a list for {', '.join(other)}: chosen "
            f"on the folds that score it, the best would flatter. Give each a study.name= of its "
            f"own, or choose with another study first."
        )
    split = cfgs[0].split
    if split.name != "kfold":
        raise UserError(f"A study of folds needs split=kfold, but got split={split.name}.")
    found = sorted(cfg.split.fold for cfg in cfgs)
    if found != list(range(split.folds)):
        raise UserError(
            f"Expected split.fold to be every fold from 0 to {split.folds - 1} once "
            f"(split.folds={split.folds}), but got {','.join(map(str, found))}."
        )
    if study.skip_failed:
        raise UserError("A study of folds needs every fold: drop study.skip_failed.")


def pool_folds(study: Study, places: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Predict each fold by the run that held it out, and judge all images together.

    Nothing is trained: the trials' best weights predict the part ``test`` of their own split.csv.
    The study's folder receives ``predictions/pooled.csv`` and one table a fold, ``folds.json``
    and ``metrics.json``, with the part ``pooled`` and one part a fold. What was computed before
    is not computed again.

    Args:
        study: the study, all of whose trials are done.
        places: where the images are now, see `leukemia.runs.scoring.placed`.

    Returns:
        The figures of all images, as `summarize` returns them.

    Raises:
        UserError: an image is in several folds.
    """
    folder = RunDir(study.path)
    if folder.metrics.is_file():
        return read_figures(folder.metrics, POOLED)
    tables: list[Predictions] = []
    groups: list[NDArray[np.int64]] = []
    metrics: dict[str, Any] = {}
    notes: list[str] = []
    for trial in study.trials:
        table, members, notes = _held_out(trial, places)
        table.write(folder.predictions(fold_part(trial)))
        metrics[fold_part(trial)] = summarize(table, members)
        tables.append(table)
        groups.append(members)
    pooled = pool(tables)
    pooled.write(folder.predictions(POOLED))
    metrics = {POOLED: summarize(pooled, np.concatenate(groups)), **metrics}
    classes = pooled.classes.to_dict()
    write_json(folds_file(study.path), {"classes": classes, "notes": notes})
    write_json(folder.metrics, metrics)
    figures: dict[str, Any] = metrics[POOLED]
    return figures


def pool(tables: Sequence[Predictions]) -> Predictions:
    """Return the predictions of all folds as one table, fold after fold.

    Raises:
        UserError: an image is in several of them.
    """
    files = [file for table in tables for file in table.files]
    if len(set(files)) != len(files):
        twice = next(file for file, n in Counter(files).items() if n > 1)
        raise UserError(f"Expected every image in one fold alone, but '{twice}' is in several.")
    return Predictions(
        tuple(files),
        np.concatenate([table.labels for table in tables]),
        np.concatenate([table.probabilities for table in tables]),
        tables[0].classes,
    )


def _held_out(
    trial: Trial, places: Mapping[str, Any]
) -> tuple[Predictions, NDArray[np.int64], list[str]]:
    """Return a trial's predictions of its held-out fold, their groups, and what must be known."""
    from leukemia.runs.finished import open_finished
    from leukemia.runs.pages import caveats
    from leukemia.runs.scoring import judge_part, own_data, placed

    finished = placed(open_finished(trial.path, trust=True, progress=False), places)
    data = own_data(finished)
    rows = data.parts["test"]
    table = Predictions(
        tuple(data.manifest.files[row] for row in rows),
        data.manifest.labels[rows],
        judge_part(finished, data, "test").probabilities.numpy(),
        data.classes,
    )
    return table, data.split.groups[rows], caveats(finished.cfg, data.split)


TOLD = ("macro_f1", "cancer_recall", "nll")  # figures, in the lines on the terminal


def open_study(
    folder: Path, study: DictConfig, varied: Sequence[dict[str, str]], cfgs: Sequence[DictConfig]
) -> list[int]:
    """Open the folder of a study, new or begun.

    Args:
        folder: of the study.
        study: the settings ``study``.
        varied: what each trial varies.
        cfgs: the settings of each trial.

    Returns:
        The numbers of the trials that are not done.

    Raises:
        UserError: settings that cannot be, or a folder that holds other trials.
    """
    if not cfgs:
        raise UserError("The study has no trials: study.exclude leaves none.")
    for number, cfg in enumerate(cfgs):
        check_trial(trial_folder(folder, number), varied[number], cfg)
    if study.pooled:
        check_folds(study, varied, cfgs)
    for path in folder.glob("*/config.yaml"):
        if path.parent.name.isdigit() and int(path.parent.name) >= len(cfgs):
            raise UserError(
                f"'{path.parent}' holds a trial that this command does not have: choose another "
                f"study.name=, or give the lists that the study was begun with."
            )
    note_trials(folder, study, varied)
    found = read_study(folder)
    left = [trial for trial in found.trials if trial.status != DONE]
    for trial in left:
        error_file(trial.path).unlink(missing_ok=True)
    print(f"{folder}: {len(left)} of {len(found.trials)} trials to run.", flush=True)
    return [trial.number for trial in left]


def check_trial(path: Path, settings: dict[str, str], cfg: DictConfig) -> None:
    """Refuse a trial that could not be run.

    Args:
        path: its folder.
        settings: what it varies.
        cfg: all its settings; settled here.

    Raises:
        UserError: settings that cannot be, or a folder that holds another trial.
    """
    from leukemia.compose.model import check_settings
    from leukemia.compose.preprocess import settle_classes

    if cfg.open_test:
        raise UserError("Trials never open the test part, the winner does: drop open_test.")
    try:
        settle(cfg, multirun=True)
        settle_classes(cfg, [f"{key}={value}" for key, value in settings.items()])
        check_settings(cfg)
        check_rule(cfg)
    except UserError as error:
        raise UserError(f"{error} ({words_of(settings)})") from error
    if not RunDir(path).config.exists():
        return
    stored = open_run(path, trust=True)[1]  # compared with the command's own below
    other = difference(stored, cfg)
    if other is None:
        other = _other_images(RunDir(path), stored, cfg)
    if other is not None:
        raise UserError(
            f"'{path}' holds a trial with other settings: {other}. Choose another study.name=, "
            f"or give the settings that the study was begun with."
        )


def check_rule(cfg: DictConfig) -> None:
    """Refuse a rule that chooses by a figure which the trials will not have.

    Raises:
        UserError: it asks for a figure of cancer, and no class is benign.
    """
    from leukemia.compose.preprocess import build_classes

    if build_classes(cfg).has_cancer:
        return
    wanted = [cfg.study.metric, *cfg.study.tie_break]
    if unknown := [name for name in wanted if name in CANCER_FIGURES]:
        raise UserError(
            f"No trial will have the figure {unknown[0]} of study.metric or study.tie_break, "
            f"because no class is benign (data.classes.benign=null): choose by accuracy, macro_f1, "
            f"nll, brier or ece."
        )


def _other_images(run: RunDir, stored: DictConfig, cfg: DictConfig) -> str | None:
    """Say how the images at another place differ from those that a trial was begun with."""
    moved = [key for key in ("data.root", "data.file") if _differs(stored, cfg, key)]
    if not moved or not run.split.is_file():
        return None
    from leukemia.compose.data import build_data
    from leukemia.data.split.parts import read_split

    data = build_data(cfg)
    data.prepare_data()
    data.setup("fit")
    try:
        read_split(run.split, data.manifest, data.classes)
    except UserError as error:
        return f"{moved[0]} is another folder there, and {error}"
    return None


def _differs(stored: DictConfig, cfg: DictConfig, key: str) -> bool:
    return bool(OmegaConf.select(stored, key) != OmegaConf.select(cfg, key))


def note_trials(folder: Path, study: DictConfig, varied: Sequence[dict[str, str]]) -> None:
    """Note in a study's folder what it tries and by which rule."""
    rule = Rule(study.metric, tuple(study.tie_break))
    record = {
        "name": study.name,
        "metric": rule.metric,
        "direction": rule.direction,
        "tie_break": rule.tie_break,
        "chart": study.chart,
        "pooled": study.pooled,
        "trials": list(varied),
    }
    write_record(folder, record)


def stopped(run: RunDir, study: DictConfig) -> bool:
    """Whether a trial shall not start: another one failed, under ``study.fail_fast``.

    Raises:
        UserError: no study was opened, as by a multirun over several of them.
    """
    if not study_file(run.path.parent).is_file():
        raise UserError("Expected one study at a time, begun with -m study=<name>.")
    return bool(study.fail_fast) and any(
        error_file(path).exists() for path in run.path.parent.iterdir()
    )


@contextmanager
def hold(run: RunDir) -> Iterator[None]:
    """Hold a trial for this process while it runs, and note what goes wrong.

    A trial that another process holds, such as a job that outlived the command that started it,
    is waited for: it is done then.

    Args:
        run: the trial's directory.
    """
    locks = run.path.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{run.path.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{run.path}: another process runs this trial; waiting for it.", flush=True)
        lock.acquire()
    try:
        before = run.done
        with reported(run.path, lambda: "give the same command again"):
            yield
        if run.done and not before:
            print(_said(run), flush=True)
    except Pruned as reason:
        write_text(pruned_file(run.path), f"{reason}\n")
        shutil.rmtree(run.checkpoints, ignore_errors=True)  # nothing goes on from them
        print(f"{run.path}: {reason}", flush=True)
    except Exception as error:
        lines = str(error) if isinstance(error, UserError) else traceback.format_exc()
        with suppress(OSError):  # what is wrong may be the disk
            write_text(error_file(run.path), lines.rstrip() + "\n")
        raise
    finally:
        lock.release()
        # Trainer and network hold each other, and the next trial of this process makes its own.
        gc.collect()


def _said(run: RunDir) -> str:
    figures = run.figures("val")
    values = [f"{name} {shown(figures[name])}" for name in TOLD if name in figures]
    return f"{run.path}: done; validation: {', '.join(values)}"


def note_failed(folder: Path, number: int, answer: object) -> None:
    """Note what a launcher says of a trial that could not note it itself."""
    trial = trial_folder(folder, number)
    if isinstance(answer, BaseException) and not _answered(trial):
        write_text(error_file(trial), f"{type(answer).__name__}: {answer}\n")


def note_lost(folder: Path, numbers: Sequence[int], error: Exception) -> None:
    """Note that a launcher failed, in every trial that neither ended nor noted an error."""
    for number in numbers:
        note_failed(folder, number, error)


def _answered(trial: Path) -> bool:
    return RunDir(trial).done or error_file(trial).exists()


def words_of(settings: dict[str, str]) -> str:
    """Settings in words."""
    return " ".join(f"{key}={value}" for key, value in settings.items())
