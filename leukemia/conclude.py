"""The end of a study: its table and page, and the test part opened once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from leukemia.errors import UserError
from leukemia.folds import pool_folds
from leukemia.machine import IMAGES
from leukemia.report.intervals import shown
from leukemia.report.study import DONE, FAILED, PRUNED, Study, mean, read_study
from leukemia.text import visible
from leukemia.trials import TOLD, words_of


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
    from leukemia.report.study_page import write_study

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
    values = [f"{name} {shown(figures[name], figures['interval'].get(name))}" for name in TOLD]
    print(
        f"{figures['n']} images in {len(study.trials)} folds, each predicted once by the run that "
        f"held it out: {', '.join(values)}."
    )


def _score(study: Study, places: Mapping[str, Any]) -> None:
    from leukemia.winner import score_winner

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
