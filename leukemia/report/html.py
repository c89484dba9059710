"""`report.html`: what a run did, on one page that needs nothing but itself."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukemia.atomic import write_text
from leukemia.report.curves import learning_curves, reliability, roc_and_pr
from leukemia.report.figures import class_bars, confusion_matrix
from leukemia.report.history import Cell
from leukemia.report.intervals import shown
from leukemia.report.page import image, page, table
from leukemia.report.predictions import Predictions

_SCALARS = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "cancer_recall": "Cancer sensitivity",
    "cancer_specificity": "Cancer specificity",
    "roc_auc": "ROC AUC (cancer)",
    "average_precision": "Average precision (cancer)",
    "nll": "Negative log-likelihood",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
}
_MOST_ROWS = 200  # of a list of files; the rest stands in predictions/


def write_report(
    path: Path,
    *,
    title: str,
    metrics: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Predictions],
    history: Sequence[Mapping[str, Cell]],
    config_yaml: str,
    environment: Mapping[str, Any],
    notes: Sequence[str],
    floors: Sequence[Mapping[str, Any]] | None,
) -> None:
    """Write the report of a run, atomically: figures inside, no link to anything.

    Args:
        path: the HTML file.
        title: its heading.
        metrics: figures by part (val, test), as `summarize` returns them.
        predictions: the tables they were computed from, with the same parts.
        history: rows of history.csv; none leaves the learning curves out.
        config_yaml: the resolved config.
        environment: versions, hardware and so on; may be nested.
        notes: what a reader must know to judge the figures, one sentence each.
        floors: what simple features reach on the same test files, each with `name` and
            `accuracy` in [0, 1]; compared with the part "test". None where nothing is known.
    """
    sections = [
        *_opening(notes),
        *_summary(metrics, floors),
        *_by_class(metrics, predictions),
        *_curves(predictions, history),
        *_lists(predictions),
        "<h2>Configuration</h2>",
        f"<pre>{escape(config_yaml)}</pre>",
        "<h2>Environment</h2>",
        table("Software and hardware", ["what", "value"], _flatten(environment)),
    ]
    write_text(path, page(title, sections))


def _opening(notes: Sequence[str]) -> Iterator[str]:
    yield (
        '<p class="warning"><strong>Research software, not a diagnostic device.</strong> '
        "These figures describe one collection of images; they say nothing about patients.</p>"
    )
    if notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _summary(
    metrics: Mapping[str, Mapping[str, Any]], floors: Sequence[Mapping[str, Any]] | None
) -> Iterator[str]:
    rows = [
        [label, *(shown(part[key], part["interval"][key]) for part in metrics.values())]
        for key, label in _SCALARS.items()
    ]
    header = ["", *(f"{name} (n = {part['n']})" for name, part in metrics.items())]
    yield '<h2>Summary</h2>\n<div class="row">'
    yield table("Figures with 95% intervals", header, rows)
    if floors:
        # Never beside validation: the floors were measured on the test files.
        accuracy = metrics["test"]["accuracy"] if "test" in metrics else None
        yield table(
            "What simple features reach on the test files",
            ["features", "accuracy", "this run (test)"],
            [
                [floor["name"], shown(floor["accuracy"]), _beside(accuracy, floor)]
                for floor in floors
            ],
        )
    yield (
        '</div>\n<p class="small">An image counts as called cancer where its most probable class '
        "is not the benign one; ROC AUC and average precision rank by the probability of cancer. "
        "Intervals of proportions are Wilson's where images are independent, the others are "
        "percentiles of a bootstrap; that of the calibration error lies high, as resampling adds "
        "noise to each bin. They hold for images like these, not for another laboratory.</p>"
    )


def _beside(accuracy: float | None, floor: Mapping[str, Any]) -> str:
    if accuracy is None:
        return "not opened"
    return f"{accuracy:.3f} ({accuracy - floor['accuracy']:+.3f})"


def _by_class(
    metrics: Mapping[str, Mapping[str, Any]], predictions: Mapping[str, Predictions]
) -> Iterator[str]:
    yield "<h2>By class</h2>"
    for name, part in metrics.items():
        classes = predictions[name].classes
        yield table(
            name,
            ["class", "images", "precision", "recall", "F1"],
            [
                [
                    label,
                    str(sum(part["confusion"][i])),
                    shown(part["precision"][label]),
                    shown(part["recall"][label], part["interval"][f"recall.{label}"]),
                    shown(part["f1"][label]),
                ]
                for i, label in enumerate(classes.names)
            ],
        )
        yield image(
            class_bars(part, classes),
            f"Bars of precision, recall and F1 by class, {name}; the table above has the values.",
            f"Precision, recall (with its 95% interval) and F1, {name}.",
        )
    yield '<h2>Confusion</h2>\n<div class="row">'
    for name, part in metrics.items():
        classes = predictions[name].classes
        counts = "; ".join(
            f"{label}: {', '.join(map(str, row))}"
            for label, row in zip(classes.names, part["confusion"], strict=True)
        )
        yield image(
            confusion_matrix(part["confusion"], classes),
            f"Confusion matrix, {name}, rows true, columns predicted. {counts}.",
            f"{name}: images, and their share of the true class.",
        )
    yield "</div>"


def _curves(
    predictions: Mapping[str, Predictions], history: Sequence[Mapping[str, Cell]]
) -> Iterator[str]:
    if history:
        yield "<h2>Training</h2>"
        yield image(
            learning_curves(history),
            f"Loss and validation accuracy over {len(history)} epochs; history.csv has the values.",
            "Loss and validation accuracy by epoch, counted on through all stages.",
        )
    yield "<h2>Probabilities</h2>"
    yield image(
        roc_and_pr(predictions),
        "ROC and precision-recall curves of cancer against benign; the summary has the areas.",
        "Cancer against benign, by the probability of cancer. Markers: the decision taken here.",
    )
    yield image(
        reliability(predictions),
        "Accuracy against confidence in 15 bins, with the number of images in each bin.",
        "How often the most probable class is right, by its probability, with 95% intervals. "
        "On the dashed line confidence equals accuracy.",
    )


def _lists(predictions: Mapping[str, Predictions]) -> Iterator[str]:
    yield "<h2>Missed cancers</h2>"
    for name, part in predictions.items():
        benign = part.classes.benign_index
        missed = (part.labels != benign) & (part.predicted == benign)
        yield _files(f"{name}: cancer called {part.classes.benign}", part, missed)
    yield "<h2>All mistakes</h2>"
    for name, part in predictions.items():
        yield _files(name, part, part.labels != part.predicted)


def _files(caption: str, part: Predictions, chosen: NDArray[np.bool_]) -> str:
    """A table of the chosen files, the most confident mistake first."""
    confidence = part.probabilities.max(axis=1)
    found = sorted(np.flatnonzero(chosen).tolist(), key=lambda i: -confidence[i])
    caption = f"{caption} ({len(found)} of {len(part.files)})"
    if not found:
        return f"<p>{escape(caption)}.</p>"
    names = part.classes.names
    rows = [
        [
            part.files[i],
            names[part.labels[i]],
            names[part.predicted[i]],
            f"{confidence[i]:.3f}",
            f"{part.probabilities[i, part.labels[i]]:.3f}",
            f"{part.p_cancer[i]:.3f}",
        ]
        for i in found[:_MOST_ROWS]
    ]
    header = ["file", "true", "predicted", "P(predicted)", "P(true)", "P(cancer)"]
    rest = len(found) - len(rows)
    more = f"<p>and {rest} more, in the table of predictions.</p>" if rest else ""
    return table(caption, header, rows) + more


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append([f"{prefix}{key}", str(value)])
    return rows
