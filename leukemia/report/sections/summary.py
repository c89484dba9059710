"""What a reader meets first: the warning, the figures with intervals, and the classes."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from leukemia.report.figures import class_bars, confusion_matrix
from leukemia.report.findings import Findings
from leukemia.report.intervals import shown
from leukemia.report.page import image, table

SCALARS = {
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


def opening(found: Findings) -> Iterator[str]:
    """The warning and the notes."""
    yield (
        '<p class="warning"><strong>Research software, not a diagnostic device.</strong> '
        "These figures describe one collection of images; they say nothing about patients.</p>"
    )
    if found.notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in found.notes)}</ul>"


def summary(found: Findings) -> Iterator[str]:
    """Every figure with its interval, and the floors beside the accuracy."""
    metrics = found.metrics
    rows = [
        [label, *(shown(part[key], part["interval"][key]) for part in metrics.values())]
        for key, label in SCALARS.items()
    ]
    header = ["", *(f"{name} (n = {part['n']})" for name, part in metrics.items())]
    yield '<h2>Summary</h2>\n<div class="row">'
    yield table("Figures with 95% intervals", header, rows)
    if found.floors:
        # Never beside validation: the floors were measured on the test files.
        accuracy = metrics["test"]["accuracy"] if "test" in metrics else None
        yield table(
            "What simple features reach on the test files",
            ["features", "accuracy", "this run (test)"],
            [
                [floor["name"], shown(floor["accuracy"]), _beside(accuracy, floor)]
                for floor in found.floors
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


def by_class(found: Findings) -> Iterator[str]:
    """Figures and confusion by class."""
    yield "<h2>By class</h2>"
    for name, part in found.metrics.items():
        classes = found.predictions[name].classes
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
    for name, part in found.metrics.items():
        classes = found.predictions[name].classes
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
