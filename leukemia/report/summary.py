"""What a reader meets first: the warning, the figures with intervals, and the classes."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from leukemia.measure.intervals import shown
from leukemia.report.curves import learning_curves
from leukemia.report.embedding_map import embedding_scatter
from leukemia.report.figures import class_bars, confusion_matrix
from leukemia.report.findings import Findings
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


_PLAIN_NOTE = (
    "Intervals of proportions are Wilson's where each image stands for itself. Where images come "
    "in groups, and for the other figures, they follow from how far leaving out one group moves a "
    "figure. <em>At least</em>: nothing went wrong here, or in one group alone, which leaves a "
    "one-sided 95% limit. The calibration error itself lies high where images are few. All hold "
    "for images like these, not for another laboratory."
)
_CANCER_NOTE = (
    "An image counts as called cancer where its most probable class is {not_benign}; ROC AUC and "
    "average precision rank by the probability of cancer. "
)
MANY = 8
"""Classes from which on a table has a row, and no column, for each."""


def scalars_of(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The figures of `SCALARS` that the parts have: none of cancer where no class is benign."""
    return {
        key: label
        for key, label in SCALARS.items()
        if all(key in part for part in metrics.values())
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
        for key, label in scalars_of(metrics).items()
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
    note = ""
    if (classes := found.classes).has_cancer:
        several = len(classes.benigns) > 1
        not_benign = "none of the benign ones" if several else "not the benign one"
        note = _CANCER_NOTE.format(not_benign=not_benign)
    yield f'</div>\n<p class="small">{note}{_PLAIN_NOTE}</p>'


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


def training(found: Findings) -> Iterator[str]:
    """The learning curves, where there is a history."""
    if found.history:
        yield "<h2>Training</h2>"
        yield image(
            learning_curves(found.history),
            f"Loss and validation accuracy over {len(found.history)} epochs; history.csv has the "
            "values.",
            "Loss and validation accuracy by epoch, counted on through all stages.",
        )


def data(found: Findings) -> Iterator[str]:
    """Which images were used, where that is known."""
    facts = found.data
    if facts is None:
        return
    names = list(dict.fromkeys(name for count in facts.counts.values() for name in count))
    rows = [
        [part, *(str(count.get(name, 0)) for name in names), str(sum(count.values()))]
        for part, count in facts.counts.items()
    ]
    header = ["part", *names, "all"]
    if len(names) > MANY:
        header, *rows = (list(column) for column in zip(header, *rows, strict=True))
        header[0] = "class"
    yield "<h2>Data</h2>"
    yield table("Images by part and class", header, rows)
    yield table(
        "Origin",
        ["what", "value"],
        [
            ["dataset", facts.source],
            ["split", facts.split],
            ["no two parts share", facts.disjoint],
            ["unreadable files left out", str(facts.skipped)],
            ["fingerprint (SHA-256 over files, labels and contents)", facts.fingerprint],
        ],
    )


def settings(found: Findings) -> Iterator[str]:
    """The exact config and the environment."""
    yield "<h2>Configuration</h2>"
    yield f"<pre>{escape(found.config_yaml)}</pre>"
    yield "<h2>Environment</h2>"
    yield table("Software and hardware", ["what", "value"], _flatten(found.environment))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append([f"{prefix}{key}", str(value)])
    return rows


def embedding(found: Findings) -> Iterator[str]:
    """The map of the embeddings, where it was made."""
    if found.embedding is None:
        return
    shown = found.embedding
    n, wrong = len(shown.points), int((shown.labels != shown.predicted).sum())
    drawn = "" if n == shown.total else f", drawn at random from {shown.total}"
    yield "<h2>Embeddings</h2>"
    yield image(
        embedding_scatter(shown),
        f"{shown.method} map of {n} images{drawn}, coloured by class, with {wrong} mistakes "
        "ringed; the tables of mistakes name the files.",
        f"{shown.method} of the {shown.dimensions} features before the decision, {n} images"
        f"{drawn}. Colour: true class. Marker: part. Ring: a mistake. Near neighbours in the map "
        "are near in the features; the size of a cloud and its distance to others mean nothing.",
    )
