"""The mistakes: lists of all, pictures of the worst."""

from collections.abc import Iterator, Mapping
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from leukemia.measure.predictions import Predictions
from leukemia.report.figures import STYLE, class_boxes, class_width
from leukemia.report.findings import Findings
from leukemia.report.page import image, photograph, table

MOST_SHOWN = 24  # of a part, in pictures
_MOST_ROWS = 200  # of a list of files; the rest stands in predictions/
_SIDE = 224  # pixels of a picture, shown at 160: sharp enough for a cell


def worst_mistakes(part: Predictions, most: int = MOST_SHOWN) -> list[int]:
    """The mistakes a reader should look at first.

    Args:
        part: the predictions.
        most: how many at most.

    Returns:
        Rows of `part`: missed cancers first, where a class is benign; within each kind the most
        confident mistake first.
    """
    confidence, missed = part.probabilities.max(axis=1), _missed(part)
    wrong = np.flatnonzero(part.labels != part.predicted).tolist()
    return sorted(wrong, key=lambda i: (not missed[i], -confidence[i], part.files[i]))[:most]


def lists(found: Findings) -> Iterator[str]:
    """Every missed cancer, where a class is benign, and every mistake, by file."""
    if found.classes.has_cancer:
        yield "<h2>Missed cancers</h2>"
        for name, part in found.predictions.items():
            words = part.classes.benign_words.replace(" and ", " or ")
            yield _files(f"{name}: cancer called {words}", part, _missed(part))
    yield "<h2>All mistakes</h2>"
    for name, part in found.predictions.items():
        yield _files(name, part, part.labels != part.predicted)


def gallery(found: Findings, budget: int) -> Iterator[str]:
    """Pictures of the worst mistakes, as many as fit.

    Args:
        found: its `pictures` are looked up for each part's worst mistakes.
        budget: bytes that the gallery may take.
    """
    if not any(found.pictures.values()):
        return
    yield "<h2>Pictures of the worst mistakes</h2>"
    order = "Missed cancers first, then by" if found.classes.has_cancer else "By"
    yield (
        f'<p class="small">{order} confidence. The pictures belong to the '
        "dataset: whoever passes this page on passes them on too.</p>"
    )
    for name, part in found.predictions.items():
        pictures = found.pictures.get(name, {})
        wanted = [row for row in worst_mistakes(part) if row in pictures]
        shown = []
        for row in wanted:
            case = _case(part, row, pictures[row])
            budget -= len(case.encode())
            if budget < 0:
                break
            shown.append(case)
        total = int((part.labels != part.predicted).sum())
        yield f"<h3>{escape(name)}: {len(shown)} of {total} mistakes</h3>"
        yield f'<div class="cases">{"".join(shown)}</div>'


def _case(part: Predictions, row: int, views: Mapping[str, NDArray[np.uint8]]) -> str:
    """One mistake: its views side by side, and what was said of it."""
    names, probabilities = part.classes.names, part.probabilities[row]
    true, called = int(part.labels[row]), int(part.predicted[row])
    said = f"{part.files[row]}: {names[true]} called {names[called]}"
    pictures = "".join(
        f"<span>{photograph(pixels, f'{said}; {view}', side=_SIDE)}{escape(view)}</span>"
        for view, pixels in views.items()
    )
    told = (
        f"P({names[called]}) {probabilities[called]:.3f}, P({names[true]}) "
        f"{probabilities[true]:.3f}"
    )
    if part.classes.has_cancer:
        told += f", P(cancer) {part.p_cancer[row]:.3f}"
    return (
        f'<figure><div class="views">{pictures}</div>'
        f"<figcaption>{escape(said)}<br>{escape(told)}</figcaption></figure>"
    )


def _missed(part: Predictions) -> NDArray[np.bool_]:
    if not part.classes.has_cancer:
        return np.zeros(len(part.files), np.bool_)
    return part.cancer & ~part.called_cancer


def _files(caption: str, part: Predictions, chosen: NDArray[np.bool_]) -> str:
    """A table of the chosen files, the most confident mistake first."""
    confidence = part.probabilities.max(axis=1)
    found = sorted(np.flatnonzero(chosen).tolist(), key=lambda i: -confidence[i])
    caption = f"{caption} ({len(found)} of {len(part.files)})"
    if not found:
        return f"<p>{escape(caption)}.</p>"
    names = part.classes.names
    cancer = part.p_cancer if part.classes.has_cancer else None
    rows = [
        [
            part.files[i],
            names[part.labels[i]],
            names[part.predicted[i]],
            f"{confidence[i]:.3f}",
            f"{part.probabilities[i, part.labels[i]]:.3f}",
            *([] if cancer is None else [f"{cancer[i]:.3f}"]),
        ]
        for i in found[:_MOST_ROWS]
    ]
    header = ["file", "true", "predicted", "P(predicted)", "P(true)"]
    header += [] if cancer is None else ["P(cancer)"]
    rest = len(found) - len(rows)
    more = f"<p>and {rest} more, in the table of predictions.</p>" if rest else ""
    return table(caption, header, rows) + more


Shares = Mapping[str, NDArray[np.float64]]


def attention(found: Findings) -> Iterator[str]:
    """How much of the heat maps lies on what, by class, where there are maps."""
    if not any(found.attention.values()):
        return
    yield "<h2>Attention</h2>"
    yield (
        "<p>Each image's heat map, divided among regions. Attention off the cells is a warning: "
        "the decision may rest on how the picture was taken.</p>"
    )
    for name, shares in found.attention.items():
        part = found.predictions[name]
        yield image(
            attention_boxes(part, shares),
            f"Box plots of the share of attention on {', '.join(shares)}, by class, {name}; the "
            "table below has medians and quartiles.",
            f"{name}: share of a heat map's mass by region and true class: median, quartiles, "
            "and whiskers to 1.5 times their distance.",
        )
        yield table(
            f"{name}: share of attention, median [quartiles]",
            ["class", *shares],
            [
                [label, *(_quartiles(values[part.labels == i]) for values in shares.values())]
                for i, label in enumerate(part.classes.names)
            ],
        )


@mpl.rc_context(STYLE)
def attention_boxes(part: Predictions, shares: Shares) -> Figure:
    """One panel a region, one box a class.

    Args:
        part: the predictions of N files.
        shares: by region, in [0, 1], (N,); nan where an image has no map.
    """
    width = class_width(part.classes.names, 3)
    figure = Figure(figsize=(width * len(shares), 3.4), layout="constrained")
    panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    if width > 3:  # beside each other they would be too small to read
        figure.clear()
        figure.set_size_inches(width, 1 + 2.2 * len(shares))
        panels = figure.subplots(len(shares), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (region, values) in zip(panels, shares.items(), strict=True):
        class_boxes(axes, values, part.labels, part.classes.names)
        axes.set(title=region, ylim=(-0.02, 1.02))
    panels[0].set_ylabel("share of attention")
    return figure


def _quartiles(values: NDArray[np.float64]) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return "n/a"
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"
