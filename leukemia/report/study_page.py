"""What a study leaves beside its trials: ``trials.csv``, ``report.html`` and PNG figures."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from leukemia.atomic import write_text
from leukemia.errors import UserError
from leukemia.plain import read_json
from leukemia.report.figures import save
from leukemia.report.folds_page import folds_opening, pooled_sections
from leukemia.report.intervals import shown
from leukemia.report.page import image, page, table
from leukemia.report.study import (
    DONE,
    FAILED,
    PRUNED,
    STARTED,
    WAITING,
    Study,
    Trial,
    mean,
    seed_interval,
)
from leukemia.report.study_figures import draw, known, label
from leukemia.report.trials_table import write_trials
from leukemia.run import RunDir

_FIGURES = ("accuracy", "macro_f1", "cancer_recall", "cancer_specificity", "nll")
_CAPTIONS = {
    "bars": "Validation by setting: bars are means over {repeats}, dots are {repeats}, lines "
    "Student's 95% interval of that mean (how far chance in split and training moves it).",
    "heatmap": "Validation on the grid: mean over {repeats}, and half the range over them.",
    "curves": "Validation by epoch: mean over {repeats}, the band spans them.",
    "search": "Every finished trial as a line through its settings, coloured by its figure; the "
    "winner is thick and dashed.",
}


def write_study(study: Study) -> None:
    """Write table, page and figures of a study as far as it is, each atomically."""
    write_trials(study, study.path / "trials.csv")
    figures = draw(study)
    for name, figure in figures.items():
        save(figure, study.path / "figures" / f"{name}.png")
    captions = {name: _CAPTIONS[name].format(repeats=study.repeats) for name in figures}
    heading = f"{'LEAKY SPLIT: ' if study.leaky else ''}Study {study.name}"
    sections = [
        *_opening(study),
        *(pooled_sections(study) if study.pooled else _winner(study.path)),
        *_settings(study),
        *(
            image(figure, f"{captions[name]} trials.csv has the values.", captions[name])
            for name, figure in figures.items()
        ),
        *_trials(study),
    ]
    write_text(study.path / "report.html", page(heading, sections))


def _opening(study: Study) -> Iterator[str]:
    counts = {s: len(study.with_status(s)) for s in (DONE, PRUNED, FAILED, STARTED, WAITING)}
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    if study.pooled:
        yield folds_opening()
        yield f"<p>{len(study.trials)} trials: {words}.</p>"
        return
    yield (
        '<p class="warning"><strong>Research software, not a diagnostic device.</strong> '
        "Trials are compared on validation; the test part is opened once, for the winner.</p>"
    )
    yield f"<p>{len(study.trials)} trials: {words}. The winner has {escape(str(study.rule))}.</p>"


def _winner(folder: Path) -> Iterator[str]:
    file = folder / "winner" / "winner.json"
    if not file.is_file():
        yield "<h2>Winner</h2><p>Not chosen yet: the test part is closed.</p>"
        return
    winner = read_json(file)
    try:
        words = " ".join(f"{k}={v}" for k, v in winner["settings"].items()) or "the one setting"
        trials = [int(number) for number in winner["trials"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"'{file}' names no winner ({error}): give the study's command again, which writes it "
            f"anew."
        ) from error
    yield f"<h2>Winner</h2><p>{escape(words)}</p>"
    rows = []
    for number in trials:
        run = RunDir(folder / "winner" / str(number))
        found = {part: run.figures(part) for part in ("val", "test")}
        rows += [
            [
                f"trial {number}, {part} (n = {found[part]['n']})",
                *(shown(found[part][key], found[part]["interval"].get(key)) for key in _FIGURES),
            ]
            for part in ("val", "test")
        ]
    yield table("Figures with 95% intervals over images", ["", *_FIGURES], rows)
    yield (
        "<p>Scored on test once, after the choice, from the trials' weights; the whole report of "
        "each trial lies in winner/&lt;trial&gt;/report.html.</p>"
    )


def _settings(study: Study) -> Iterator[str]:
    if not study.settings():
        return
    names = list(dict.fromkeys([study.rule.metric, *_FIGURES]))
    rows = [
        [label(group), str(len(group)), *(_repeated(group, name) for name in names)]
        for group in study.ranked()
    ]
    yield "<h2>Settings</h2>"
    yield table(
        f"Validation, best first: mean over {study.repeats} with Student's 95% interval",
        ["setting", study.repeats, *names],
        rows,
    )


def _repeated(group: Sequence[Trial], name: str) -> str:
    return known(mean(group, name), seed_interval(group, name))


def _trials(study: Study) -> Iterator[str]:
    rows = [
        [
            str(trial.number),
            trial.status,
            *trial.settings.values(),
            shown(trial.figures.get(study.rule.metric)),
            "" if trial.seconds is None else f"{trial.seconds:.0f}",
            trial.error,
        ]
        for trial in study.trials
    ]
    yield "<h2>Trials</h2>"
    header = ["trial", "status", *study.varied, study.rule.metric, "seconds", "error"]
    yield table("All trials; trials.csv has every figure", header, rows)
