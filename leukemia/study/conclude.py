"""The end of a study: its table and page, and the test part opened once."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.measure.intervals import shown
from leukemia.measure.predictions import read_predictions
from leukemia.runs.directory import RunDir, open_run, sweep, write_json
from leukemia.runs.finished import open_finished
from leukemia.runs.pages import caveats, describe_run, record, write_page
from leukemia.runs.plain import read_json
from leukemia.runs.scoring import judge_part, own_data, placed
from leukemia.settings.settled import IMAGES
from leukemia.study.record import DONE, FAILED, PRUNED, Study, Trial, mean, read_study
from leukemia.study.trials import TOLD, pool_folds, words_of
from leukemia.text import visible

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
        places: where the images are now, see `leukemia.runs.scoring.placed`.

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
    test = {
        name: _mean([figures[name] for figures in tables])
        for name in SHOWN
        if all(name in figures for figures in tables)
    }
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
    finished = placed(open_finished(trial.path, trust=True, progress=False), places)
    _, cfg = open_run(trial.path, trust=True)
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


def conclude(folder: Path, settings: DictConfig, here: DictConfig) -> None:
    """Write the study's table and page; once all trials are done, score the winner on test.

    Of a study of folds no trial wins: each predicts the fold that it held out.

    Args:
        folder: of the study.
        settings: the settings ``study``.
        here: those of a trial, as the command has them: they tell where the images are now.

    Raises:
        UserError: trials failed or were not run.
    """
    from leukemia.study.page import write_study

    study = read_study(folder)
    failed = study.with_status(FAILED)
    places = {key: OmegaConf.select(here, key) for key in IMAGES}
    try:
        for trial in failed:
            print(visible(f"{trial.path} failed ({words_of(trial.settings)}): {trial.error}"))
        left = len(study.trials) - len(study.with_status(DONE, FAILED, PRUNED))
        if left or (failed and not settings.skip_failed):
            raise UserError(
                f"{len(failed)} of {len(study.trials)} trials failed and {left} were not finished, "
                f"so the test part stayed closed: the same command tries them again; "
                f"study.skip_failed=true chooses a winner without those that failed "
                f"({folder}/<trial>/error.txt says more)."
            )
        if study.pooled:
            _pool(study, places)
        else:
            _score(study, places)
    finally:
        write_study(study)
        print(f"  table   {folder / 'trials.csv'}\n  report  {folder / 'report.html'}")
    if failed:
        raise UserError(f"{len(failed)} of {len(study.trials)} trials failed; see above.")


def _pool(study: Study, places: Mapping[str, Any]) -> None:
    with FileLock(study.path / ".locks" / "winner.lock"):
        figures = pool_folds(study, places)
    values = [
        f"{name} {shown(figures[name], figures['interval'].get(name))}"
        for name in TOLD
        if name in figures
    ]
    print(
        f"{figures['n']} images in {len(study.trials)} folds, each predicted once by the run that "
        f"held it out: {', '.join(values)}."
    )


def _score(study: Study, places: Mapping[str, Any]) -> None:

    group = study.winner()
    with FileLock(study.path / ".locks" / "winner.lock"):
        test = score_winner(study, group, places)
    numbers = ", ".join(str(trial.number) for trial in group)
    words = words_of(dict(group[0].setting)) or "the one setting"
    metric = study.rule.metric
    print(
        f"Winner by {study.rule}: {words} (trial {numbers}): {metric} {mean(group, metric):.3f} "
        f"on validation.\nScored on test, once: "
        + ", ".join(f"{name} {shown(value)}" for name, value in test.items())
    )
