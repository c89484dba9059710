"""The history of a training, its curves, and what the probabilities are worth."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from numbers import Integral
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.measure.intervals import wilson
from leukemia.measure.metrics import ECE_BINS, calibration_bins
from leukemia.measure.predictions import Predictions
from leukemia.report.figures import BLUE, GREEN, GREY, ORANGE, STYLE

Cell = float | int | str | None


def write_history(path: Path, rows: list[dict[str, Cell]]) -> None:
    """Write the rows, atomically.

    Args:
        path: the CSV file to replace.
        rows: one an epoch; the columns are the union of their keys, by first appearance.
            None and absent values leave an empty cell, numbers are written in full precision.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    write_text(path, buffer.getvalue())


def read_history(path: Path) -> list[dict[str, Cell]]:
    """Read what `write_history` wrote.

    Args:
        path: the CSV file.

    Returns:
        One dict a row, all with the same keys; empty cells are None, and text that reads as a
        number is one.

    Raises:
        UserError: the file cannot be read, or a row has no stage or epoch, or another word.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Expected a history at {path}, but cannot read it: {error}") from error
    return [_cells(row, path) for row in rows]


def _cells(row: dict[str, str], path: Path) -> dict[str, Cell]:
    """Return a row by column: its stage, its epoch, and numbers."""
    cells = {name: _value(text) for name, text in row.items() if name is not None}
    words = [name for name, value in cells.items() if isinstance(value, str)]
    if None in row or words != ["stage"] or not isinstance(cells.get("epoch"), int):
        raise UserError(
            f"Expected every row of the history at {path} to have a stage, an epoch and numbers, "
            f"but got {list(row.values())}: bring it back from a copy, or train the run anew."
        )
    return cells


def _text(value: Cell) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    # Through int and float, because numpy 2 writes its scalars as "np.float64(0.5)".
    return repr(int(value)) if isinstance(value, Integral) else repr(float(value))


def _value(text: str | None) -> Cell:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


_CORNER = 0.2  # a good curve hugs its corner, so that is shown larger
SERIES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"))


@mpl.rc_context(STYLE)
def learning_curves(history: Sequence[Mapping[str, Cell]]) -> Figure:
    """Loss and validation accuracy by epoch, counted on through all stages.

    Args:
        history: rows of history.csv in order; `stage`, `train_loss`, `val_loss` and
            `val_accuracy` are drawn where they are present.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    curves = (
        (loss, "train_loss", "training", SERIES[0]),
        (loss, "val_loss", "validation", SERIES[1]),
        (accuracy, "val_accuracy", "validation", SERIES[1]),
    )
    for axes, column, label, (colour, line, marker) in curves:
        values = _column(history, column)
        if np.isfinite(values).any():
            axes.plot(
                np.arange(1, len(values) + 1),
                values,
                line,
                c=colour,
                marker=marker,
                ms=3,
                label=label,
            )
    for axes, title in ((loss, "Loss"), (accuracy, "Validation accuracy")):
        axes.set_title(title, pad=18)  # the names of the stages stand below it
        axes.set_xlabel("epoch")
        axes.grid()
        if axes.lines:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _mark_stages(axes, [row.get("stage") for row in history])
        else:
            _say(axes, "not recorded")
    if loss.lines:
        drawn = np.concatenate([_column(history, name) for name in ("train_loss", "val_loss")])
        drawn = drawn[np.isfinite(drawn)]
        if drawn.min() > 0 and drawn.max() > 50 * drawn.min():
            loss.set_yscale("log")
        loss.legend()
    return figure


@mpl.rc_context(STYLE)
def roc_and_pr(parts: Mapping[str, Predictions]) -> Figure:
    """ROC and precision-recall curves of cancer against benign, by `p_cancer`.

    Args:
        parts: predictions by part, such as val and test, of classes with a benign one; the marker
            on each curve is the decision by argmax. A part that lacks cancer or lacks benign
            images has no curve.
    """
    figure = Figure(figsize=(9, 4.7), layout="constrained")
    roc, pr = figure.subplots(1, 2)
    cancer = {name: part.cancer for name, part in parts.items()}
    drawn = {name: part for name, part in parts.items() if 0 < cancer[name].mean() < 1}
    called = {name: part.called_cancer for name, part in drawn.items()}
    sensitivity = {name: called[name][cancer[name]].mean() for name in drawn}
    false_alarms = {name: called[name][~cancer[name]].mean() for name in drawn}
    rocs, prs = [roc], [pr]
    if drawn and min(sensitivity.values()) >= 1 - _CORNER and max(false_alarms.values()) <= _CORNER:
        rocs.append(_enlarge(roc, (0.38, 0.3, 0.56, 0.56), (-0.005, _CORNER)))
        prs.append(_enlarge(pr, (0.14, 0.3, 0.56, 0.56), (1 - _CORNER, 1.005)))
    else:
        roc.plot([0, 1], [0, 1], ":", color=GREY, linewidth=1)
    for (name, part), (colour, line, marker) in zip(drawn.items(), cycle(SERIES), strict=False):
        fpr, tpr, _ = roc_curve(cancer[name], part.p_cancer, drop_intermediate=False)
        precision, recall, _ = precision_recall_curve(cancer[name], part.p_cancer)
        for axes in rocs:
            axes.plot(fpr, tpr, line, color=colour, label=name)
            axes.plot(false_alarms[name], sensitivity[name], marker, color=colour, ms=7, mec="w")
        for axes in prs:
            axes.plot(recall, precision, line, color=colour, label=name, drawstyle="steps-post")
            if called[name].any():
                at = sensitivity[name], cancer[name][called[name]].mean()
                axes.plot(*at, marker, color=colour, ms=7, mec="w")
    for axes, corner in ((roc, "lower right"), (pr, "lower left")):
        axes.grid()
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        if drawn:
            axes.legend(loc=corner, ncols=len(drawn))
        else:
            _say(axes, "needs both cancer and benign images")
    roc.set(title="ROC", xlabel="1 - specificity", ylabel="sensitivity")
    pr.set(title="Precision-recall", xlabel="recall (sensitivity)", ylabel="precision")
    return figure


@mpl.rc_context(STYLE)
def reliability(parts: Mapping[str, Predictions]) -> Figure:
    """Accuracy against confidence of the top class in 15 bins, and how full each bin is.

    Args:
        parts: predictions by part, one panel each; the bars are Wilson's 95% intervals.
    """
    figure = Figure(figsize=(4.5 * len(parts), 4.6), layout="constrained")
    panels = figure.subplots(2, len(parts), sharex=True, height_ratios=(3, 1), squeeze=False)
    centres = (np.arange(ECE_BINS) + 0.5) / ECE_BINS
    for (name, part), upper, lower in zip(parts.items(), *panels, strict=True):
        counts, confidence, accuracy = calibration_bins(part)
        full = counts > 0
        x, y, n = confidence[full], accuracy[full], counts[full]
        bounds = np.array([wilson(round(a * k), int(k)) for a, k in zip(y, n, strict=True)])
        upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        upper.errorbar(x, y, np.abs(bounds.T - y), fmt="o", color=BLUE, markersize=5, capsize=2)
        upper.set(title=name, ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.04))
        lower.bar(centres, counts, width=0.9 / ECE_BINS, color=BLUE)
        lower.set(xlabel="confidence (probability of the top class)", ylabel="images")
        lower.set(yscale="log", ylim=(0.7, 1.5 * counts.max()))
        upper.grid()
    return figure


def _column(history: Sequence[Mapping[str, Cell]], name: str) -> NDArray[np.float64]:
    cells = (row.get(name) for row in history)
    return np.array([x if isinstance(x, int | float) else np.nan for x in cells], dtype=np.float64)


def _mark_stages(axes: Axes, stages: Sequence[Cell]) -> None:
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    if len(starts) < 2:
        return
    for start in starts:
        if start:
            axes.axvline(start + 0.5, color=GREY, linestyle=":")
        axes.annotate(
            str(stages[start]),
            (start + 0.6, 1),
            xycoords=("data", "axes fraction"),
            va="bottom",
            fontsize=9,
            color=GREY,
        )


def _enlarge(axes: Axes, box: tuple[float, float, float, float], xlim: tuple[float, float]) -> Axes:
    inset = axes.inset_axes(box, xlim=xlim, ylim=(1 - _CORNER, 1.005))
    inset.tick_params(labelsize=8)
    inset.grid()
    inset.set_title("the corner, enlarged", fontsize=8, fontweight="normal")
    axes.indicate_inset((xlim[0], 1 - _CORNER, xlim[1] - xlim[0], _CORNER), edgecolor=GREY)
    return inset


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
