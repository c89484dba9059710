"""What a study leaves beside its trials: ``trials.csv``, ``report.html`` and PNG figures."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from leukemia.classes import Classes
from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.measure.intervals import shown
from leukemia.measure.predictions import read_predictions
from leukemia.report.curves import roc_and_pr
from leukemia.report.figures import confusion_matrix, save
from leukemia.report.page import image, page, table
from leukemia.runs.directory import RunDir
from leukemia.runs.plain import read_figures, read_json
from leukemia.study.figures import draw, known, label
from leukemia.study.record import (
    DONE,
    FAILED,
    FOLD,
    PRUNED,
    STARTED,
    WAITING,
    Study,
    Trial,
    having,
    mean,
    seed_interval,
)
from leukemia.text import as_words


def write_trials(study: Study, path: Path) -> None:
    """Write one row a trial: number, status, settings, every figure of validation, seconds, error.

    Figures by class are named as in ``recall.Early``; intervals and the confusion matrix stay in
    the trial's metrics.json.
    """
    names = list(dict.fromkeys(name for trial in study.trials for name in _flat(trial.figures)))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "status", *study.varied, *names, "seconds", "error"])
    for trial in study.trials:
        figures = _flat(trial.figures)
        writer.writerow(
            [
                trial.number,
                trial.status,
                *map(as_words, trial.settings.values()),
                *(_text(figures.get(name)) for name in names),
                _text(trial.seconds),
                as_words(trial.error),
            ]
        )
    write_text(path, buffer.getvalue())


def _flat(figures: dict[str, Any]) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for name, value in figures.items():
        if isinstance(value, dict) and name != "interval":
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif value is None or _plain(value):
            flat[name] = value
    return flat


def _plain(value: object) -> bool:
    return isinstance(value, int | float)


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


POOLED = "pooled"
_FIGURES = ("accuracy", "macro_f1", "cancer_recall", "cancer_specificity", "roc_auc", "nll", "ece")


def fold_part(trial: Trial) -> str:
    """The name of a trial's held-out fold among the parts of the study: ``fold_0``."""
    return f"fold_{trial.settings[FOLD]}"


def folds_file(folder: Path) -> Path:
    """Classes and caveats of the pooled predictions."""
    return folder / "folds.json"


def folds_opening() -> str:
    """What a reader must know of such a study before its figures."""
    return (
        '<p class="warning"><strong>Research software, not a diagnostic device.</strong> In each '
        "trial one fold was held out of training and of the choice of weights, which the next "
        "fold guided. To judge these out-of-fold predictions is what this study is for: it "
        "opens every held-out fold once, when all trials are done, and no image is left untouched "
        "afterwards. A recipe changed because of these figures needs other images to be judged "
        "on.</p>"
    )


def pooled_sections(study: Study) -> Iterator[str]:
    """The pooled figures with their pictures, also saved as PNG; a line before they are there."""
    file = study.path / "metrics.json"
    if not file.is_file():
        yield "<h2>All folds together</h2><p>Not every trial is done: the folds are closed.</p>"
        return
    metrics = {name: read_figures(file, name) for name in (POOLED, *map(fold_part, study.trials))}
    pooled = metrics[POOLED]
    names = having(_FIGURES, metrics.values())
    record = read_json(folds_file(study.path))
    try:
        classes = Classes.from_dict(record["classes"])
        notes = [str(note) for note in record["notes"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"'{folds_file(study.path)}' has no {error}: remove it and '{file}', and give the "
            f"study's command again."
        ) from error
    yield f"<h2>All folds together</h2><p>{pooled['n']} images, each predicted once.</p>"
    yield from (f"<p>{escape(note)}</p>" for note in notes)
    yield table(
        "Out-of-fold figures with 95% intervals over images (over groups, where there are some)",
        ["", *names],
        [_row(name, metrics[name], names) for name in metrics],
    )
    yield table(
        "By class, all folds together",
        ["class", "precision", "recall", "f1"],
        [
            [
                name,
                shown(pooled["precision"][name]),
                shown(pooled["recall"][name], pooled["interval"].get(f"recall.{name}")),
                shown(pooled["f1"][name]),
            ]
            for name in classes.names
        ],
    )
    has_cancer = classes.has_cancer
    auc = ": the pooled ROC AUC can lie below that of every fold" if has_cancer else ""
    yield (
        "<p>The intervals are of the images or groups, for the runs as they are; how far training "
        "itself moves a figure shows between the folds. Each fold has a network of its own, whose "
        f"scores need not be on one scale{auc}.</p>"
    )
    predictions = read_predictions(study.path / "predictions" / f"{POOLED}.csv", classes)
    figures = {
        "confusion": (confusion_matrix(pooled["confusion"], classes), "Confusion, all folds."),
    }
    if has_cancer:
        curves = roc_and_pr({POOLED: predictions})
        figures["roc_and_pr"] = (curves, "Cancer against benign, all folds.")
    for name, (figure, caption) in figures.items():
        save(figure, study.path / "figures" / f"{name}.png")
        yield image(figure, caption, caption)


def _row(name: str, figures: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    first = f"{name.replace('_', ' ')} (n = {figures['n']})"
    return [first, *(shown(figures[key], figures["interval"].get(key)) for key in names)]


_SHOWN = ("accuracy", "macro_f1", "cancer_recall", "cancer_specificity", "nll")
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
    runs = {number: RunDir(folder / "winner" / str(number)) for number in trials}
    scored = {
        number: {part: run.figures(part) for part in ("val", "test")}
        for number, run in runs.items()
    }
    names = having(_SHOWN, [part for found in scored.values() for part in found.values()])
    rows = []
    for number, found in scored.items():
        rows += [
            [
                f"trial {number}, {part} (n = {found[part]['n']})",
                *(shown(found[part][key], found[part]["interval"].get(key)) for key in names),
            ]
            for part in ("val", "test")
        ]
    caption = "Figures with 95% intervals over images (over groups, where there are some)"
    yield table(caption, ["", *names], rows)
    yield (
        "<p>Scored on test once, after the choice, from the trials' weights; the whole report of "
        "each trial lies in winner/&lt;trial&gt;/report.html.</p>"
    )


def _settings(study: Study) -> Iterator[str]:
    if not study.settings():
        return
    figures = [trial.figures for group in study.settings() for trial in group]
    names = having(dict.fromkeys([study.rule.metric, *_SHOWN]), figures)
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
