"""The winner of a study, scored on test: once, and from the weights its trials left."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from leukemia.atomic import write_text
from leukemia.build.describe import describe_run
from leukemia.build.finished import open_finished
from leukemia.build.parts import judge_part, own_data, placed
from leukemia.errors import UserError
from leukemia.plain import read_json
from leukemia.report.predictions import read_predictions
from leukemia.report.study import Study, Trial, mean
from leukemia.results import caveats, record, write_page
from leukemia.run import RunDir, open_run, sweep, write_json

SHOWN = ("accuracy", "macro_f1", "cancer_recall", "cancer_specificity")


def score_winner(
    study: Study, group: Sequence[Trial], places: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, float | None]:
    """Open the test part for the trials of the winning setting, one a seed.

    Nothing is trained: their best weights predict the part ``test`` of their own split.csv.
    ``winner/<trial>/`` receives what a single run leaves, ``winner/winner.json`` which trials
    won by which rule, and the means of both parts. What was scored before is not scored again.
    The study's lock must be held.

    Args:
        study: the study.
        group: the trials.
        places: where the images are now, see `leukemia.build.parts.placed`.

    Returns:
        Means over the trials of the main figures of test.

    Raises:
        UserError: other trials were scored on test before.
    """
    folder = study.path / "winner"
    chosen = folder / "chosen.json"
    choice = {"trials": [trial.number for trial in group], "rule": str(study.rule)}
    before = read_json(chosen).get("trials") if chosen.is_file() else None
    if before is not None and before != choice["trials"]:
        raise UserError(
            f"The winner is now trial {choice['trials']} by {study.rule}, but the test part was "
            f"opened for trial {before} before: it is opened once. Give the rule that "
            f"the study was begun with, or remove '{folder}' and say so where you report it."
        )
    write_json(chosen, choice)  # before the test part is opened
    sweep(folder)
    runs = [RunDir(folder / str(trial.number)) for trial in group]
    tables = [
        _score_trial(study, trial, run, places) for trial, run in zip(group, runs, strict=True)
    ]
    test = {name: _mean([figures[name] for figures in tables]) for name in SHOWN}
    settings = dict(group[0].setting)
    summary: dict[str, object] = {
        **choice,
        "settings": settings,
        "val": {name: mean(group, name) for name in (study.rule.metric,)},
        "test": test,
    }
    if study.leaky:
        summary["leaky"] = True
    write_json(folder / "winner.json", summary)
    return test


def _score_trial(
    study: Study, trial: Trial, run: RunDir, places: Mapping[str, Any]
) -> dict[str, float | None]:
    if run.done:
        return run.figures("test")
    finished = placed(open_finished(trial.path, progress=False), places)
    _, cfg = open_run(trial.path)
    data = own_data(finished)
    for name in ("config.yaml", "split.csv", "history.csv", "environment.json"):
        write_text(run.path / name, (trial.path / name).read_text(encoding="utf-8"))
    left = finished.run
    for file in (
        *(left.checkpoints / "best.ckpt", left.calibration, left.single_view_calibration),
        *(left.known, left.thumbnails, left.predictions("val")),
    ):
        if file.is_file():
            _copy(file, run.path / file.relative_to(left.path))
    seen = {
        "val": judge_part(finished, data, "val", single=True),
        "test": judge_part(finished, data, "test"),
    }
    table, scored = record(run, data, "test", seen["test"].probabilities.numpy())
    metrics = {"val": trial.figures, "test": scored}
    predictions = {"val": read_predictions(run.predictions("val"), data.classes), "test": table}
    write_json(run.metrics, metrics)
    write_page(
        run,
        cfg,
        title=f"Winner of the study {study.name}: trial {trial.number}",
        metrics=metrics,
        predictions=predictions,
        environment=run.conditions(),
        notes=[
            f"Chosen among {len(study.trials)} trials by {study.rule}; the test part was opened "
            f"for the winner alone.",
            *caveats(cfg, data.split),
            *data.split.notes,
        ],
        shown=describe_run(cfg, data, seen, predictions, finished.calibration()),
    )
    run.finish()
    return scored


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
