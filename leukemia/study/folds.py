"""A study over folds: every image is predicted once, by the run that never saw it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from leukemia.errors import UserError
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions
from leukemia.runs.directory import RunDir, write_json
from leukemia.runs.plain import read_figures
from leukemia.study.page import POOLED, fold_part, folds_file
from leukemia.study.record import FOLD, Study, Trial


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
