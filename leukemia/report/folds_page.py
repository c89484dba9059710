"""What the page of a study over folds says: all images together, each judged once."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.plain import read_json
from leukemia.report.curves import roc_and_pr
from leukemia.report.figures import confusion_matrix, save
from leukemia.report.intervals import shown
from leukemia.report.page import image, table
from leukemia.report.predictions import read_predictions
from leukemia.report.study import FOLD, Study, Trial
from leukemia.run import read_figures

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
    record = read_json(folds_file(study.path))
    try:
        classes = Classes(tuple(record["classes"]["names"]), record["classes"]["benign"])
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
        ["", *_FIGURES],
        [_row(name, metrics[name]) for name in metrics],
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
    yield (
        "<p>The intervals are of the images, for the runs as they are; how far training itself "
        "moves a figure shows between the folds. Each fold has a network of its own, whose scores "
        "need not be on one scale: the pooled ROC AUC can lie below that of every fold.</p>"
    )
    predictions = read_predictions(study.path / "predictions" / f"{POOLED}.csv", classes)
    figures = {
        "confusion": (confusion_matrix(pooled["confusion"], classes), "Confusion, all folds."),
        "roc_and_pr": (roc_and_pr({POOLED: predictions}), "Cancer against benign, all folds."),
    }
    for name, (figure, caption) in figures.items():
        save(figure, study.path / "figures" / f"{name}.png")
        yield image(figure, caption, caption)


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    first = f"{name.replace('_', ' ')} (n = {figures['n']})"
    return [first, *(shown(figures[key], figures["interval"].get(key)) for key in _FIGURES)]
