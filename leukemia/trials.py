"""Trials of a study: which are still to run, one process to each, and what failed."""

import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from leukemia.atomic import write_text
from leukemia.errors import UserError
from leukemia.folds import check_folds, pool_folds
from leukemia.report.intervals import shown
from leukemia.report.rule import Rule
from leukemia.report.study import (
    DONE,
    FAILED,
    Study,
    error_file,
    mean,
    read_study,
    study_file,
    trial_folder,
)
from leukemia.run import RunDir, open_run
from leukemia.settings import difference, settle

_TOLD = ("macro_f1", "cancer_recall", "nll")


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
    from leukemia.build.model import check_settings

    if not cfgs:
        raise UserError("The study has no trials: study.exclude leaves none.")
    for number, cfg in enumerate(cfgs):
        if cfg.open_test:
            raise UserError("Trials never open the test part, the winner does: drop open_test.")
        try:
            settle(cfg, multirun=True)
            check_settings(cfg)
        except UserError as error:
            raise UserError(f"{error} ({_words(varied[number])})") from error
        _check_folder(trial_folder(folder, number), cfg)
    if study.pooled:
        check_folds(study, varied, cfgs)
    for path in folder.glob("*/config.yaml"):
        if path.parent.name.isdigit() and int(path.parent.name) >= len(cfgs):
            raise UserError(
                f"'{path.parent}' holds a trial that this command does not have: choose another "
                f"study.name=, or give the lists that the study was begun with."
            )
    rule = Rule(study.metric, study.direction, tuple(study.tie_break))
    record = {
        "name": study.name,
        "metric": rule.metric,
        "direction": rule.direction,
        "tie_break": rule.tie_break,
        "chart": study.chart,
        "pooled": study.pooled,
        "trials": list(varied),
    }
    write_text(study_file(folder), json.dumps(record, indent=1) + "\n")
    found = read_study(folder)
    left = [trial for trial in found.trials if trial.status != DONE]
    for trial in left:
        error_file(trial.path).unlink(missing_ok=True)
    print(f"{folder}: {len(left)} of {len(found.trials)} trials to run.", flush=True)
    return [trial.number for trial in left]


def _check_folder(path: Path, cfg: DictConfig) -> None:
    if not RunDir(path).config.exists():
        return
    other = difference(open_run(path)[1], cfg)
    if other is not None:
        raise UserError(
            f"'{path}' holds a trial with other settings: {other}. Choose another study.name=, "
            f"or give the settings that the study was begun with."
        )


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
        yield
        if not before:
            print(_said(run), flush=True)
    except Exception as error:
        lines = str(error) if isinstance(error, UserError) else traceback.format_exc()
        write_text(error_file(run.path), lines.rstrip() + "\n")
        raise
    finally:
        lock.release()


def _said(run: RunDir) -> str:
    figures = json.loads(run.metrics.read_text())["val"]
    values = [f"{name} {shown(figures[name])}" for name in _TOLD]
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


def conclude(folder: Path, settings: DictConfig) -> None:
    """Write the study's table and page, and score its winner on test once all trials are done.

    Args:
        folder: of the study.
        settings: the settings ``study``.

    Raises:
        UserError: trials failed or were not run.
    """
    from leukemia.report.study_page import write_study

    study = read_study(folder)
    failed = study.with_status(FAILED)
    try:
        for trial in failed:
            print(f"{trial.path} failed ({_words(trial.settings)}): {trial.error}")
        left = len(study.trials) - len(study.with_status(DONE, FAILED))
        if left or (failed and not settings.skip_failed):
            raise UserError(
                f"{len(failed)} of {len(study.trials)} trials failed and {left} were not finished, "
                f"so the test part stayed closed: the same command tries "
                f"them again; study.skip_failed=true chooses a winner without those that "
                f"failed ({folder}/<trial>/error.txt says more)."
            )
        if study.pooled:
            _pool(study)
        else:
            _score(study)
    finally:
        write_study(study)
        print(f"  table   {folder / 'trials.csv'}\n  report  {folder / 'report.html'}")
    if failed:
        raise UserError(f"{len(failed)} of {len(study.trials)} trials failed; see above.")


def _pool(study: Study) -> None:
    with FileLock(study.path / ".locks" / "winner.lock"):
        figures = pool_folds(study)
    values = [f"{name} {shown(figures[name], figures['interval'].get(name))}" for name in _TOLD]
    print(
        f"{figures['n']} images in {len(study.trials)} folds, each predicted once by the run that "
        f"held it out: {', '.join(values)}."
    )


def _score(study: Study) -> None:
    from leukemia.winner import score_winner

    group = study.winner()
    with FileLock(study.path / ".locks" / "winner.lock"):
        test = score_winner(study, group)
    numbers = ", ".join(str(trial.number) for trial in group)
    words = _words(dict(group[0].setting)) or "the one setting"
    metric = study.rule.metric
    print(
        f"Winner by {study.rule}: {words} (trial {numbers}): {metric} {mean(group, metric):.3f} "
        f"on validation.\nScored on test, once: "
        + ", ".join(f"{name} {shown(value)}" for name, value in test.items())
    )


def _words(settings: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())
