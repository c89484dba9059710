import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from leukemia.classes import Classes
from leukemia.measure.metrics import calibration_bins, summarize
from leukemia.measure.predictions import Predictions
from leukemia.report.curves import learning_curves, reliability, roc_and_pr
from leukemia.report.figures import class_bars, confusion_matrix, render, save
from tests.report.samples import ABC, random_predictions, toy

HISTORY = [
    {"stage": "head", "epoch": 0, "train_loss": 1.5, "val_loss": 1.25, "val_accuracy": 0.5},
    {"stage": "head", "epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.625},
    {"stage": "finetune", "epoch": 0, "train_loss": 0.5, "val_loss": None, "val_accuracy": 0.75},
]


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(render(figure))).convert("RGB"))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def every_figure():
    parts = {"val": toy(), "test": toy()}
    return {
        "confusion": confusion_matrix([[3, 1], [0, 4]], Classes(("A", "B"), "A")),
        "curves": learning_curves(HISTORY),
        "roc": roc_and_pr(parts),
        "reliability": reliability(parts),
        "bars": class_bars(summarize(toy()), ABC),
    }


@pytest.mark.parametrize("name", ["confusion", "curves", "roc", "reliability", "bars"])
def test_a_figure_is_drawn_on_white_at_twice_its_size(name):
    figure = every_figure()[name]
    image = pixels(figure)
    width, height = figure.get_size_inches() * 192
    assert image.shape == (int(height), int(width), 3)
    ink = (image < 128).any(axis=2)
    assert 0.005 < ink.mean() < 0.5
    # Nothing is cut off: the outermost pixels are blank.
    frame = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (frame == 255).all()


def test_figures_leave_no_state_behind():
    before = dict(mpl.rcParams)
    for figure in every_figure().values():
        render(figure)
    assert dict(mpl.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_the_suffix_chooses_the_format(tmp_path, name, start):
    save(confusion_matrix([[1, 0], [0, 1]], Classes(("A", "B"), "A")), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_the_confusion_matrix_shows_counts_and_row_shares():
    figure = confusion_matrix([[8, 2, 0], [0, 0, 0], [1, 0, 3]], ABC)
    (axes,) = figure.axes
    drawn = axes.images[0].get_array()
    assert drawn.tolist() == [[0.8, 0.2, 0], [0, 0, 0], [0.25, 0, 0.75]]
    assert texts(axes) == ["8\n80.0%", "2\n20.0%", "0", "0", "0", "0", "1\n25.0%", "0", "3\n75.0%"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["A\n(n=10)", "B\n(n=0)", "C\n(n=4)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_fuller_cells_of_the_confusion_matrix_are_darker():
    figure = confusion_matrix([[9, 1], [5, 5]], Classes(("A", "B"), "A"))
    image = pixels(figure)
    (axes,) = figure.axes

    def shade(row, column):
        # A corner of the cell, away from its text; pixel rows count from the top.
        x, y = axes.transData.transform((column - 0.4, row - 0.4)) * 192 / figure.dpi
        return int(image[image.shape[0] - int(y), int(x)].sum())

    assert shade(0, 0) < shade(1, 0) == shade(1, 1) < shade(0, 1)


def test_learning_curves_hold_the_history_and_mark_the_stage():
    loss, accuracy = learning_curves(HISTORY).axes
    train, val, boundary = loss.lines
    assert train.get_xdata().tolist() == [1, 2, 3]
    assert train.get_ydata().tolist() == [1.5, 1.0, 0.5]
    assert val.get_ydata()[:2].tolist() == [1.25, 1.0]
    assert np.isnan(val.get_ydata()[2])
    assert list(boundary.get_xdata()) == [2.5, 2.5]
    assert accuracy.lines[0].get_ydata().tolist() == [0.5, 0.625, 0.75]
    assert texts(loss) == texts(accuracy) == ["head", "finetune"]


def test_a_single_stage_has_no_boundary_and_a_missing_column_says_so():
    loss, accuracy = learning_curves([{"train_loss": 1.0}, {"train_loss": 0.5}]).axes
    assert len(loss.lines) == 1
    assert texts(accuracy) == ["not recorded"]
    assert texts(learning_curves([]).axes[0]) == ["not recorded"]


def test_a_loss_that_starts_huge_is_drawn_by_its_logarithm():
    history = [{"train_loss": 4000.0}, {"train_loss": 1.0}]
    assert learning_curves(history).axes[0].get_yscale() == "log"
    assert learning_curves(HISTORY).axes[0].get_yscale() == "linear"


def test_roc_and_precision_recall_pass_through_the_points_of_the_toy():
    roc, pr = roc_and_pr({"test": toy()}).axes
    chance, curve, decision = roc.lines
    # Cancer at 1, 1, 0.875 | benign 0.75 | cancer 0.5 | benign 0.25, from the top.
    assert curve.get_xydata().tolist() == [
        [0, 0], [0, 0.5], [0, 0.75], [0.5, 0.75], [0.5, 1], [1, 1]
    ]  # fmt: skip
    assert decision.get_xydata().tolist() == [[0.5, 0.75]]
    assert chance.get_xydata().tolist() == [[0, 0], [1, 1]]
    points = pr.lines[0].get_xydata()
    assert points.tolist() == [
        [1, 4 / 6], [1, 4 / 5], [0.75, 3 / 4], [0.75, 1], [0.5, 1], [0, 1]
    ]  # fmt: skip
    assert pr.lines[0].get_drawstyle() == "steps-post"
    assert pr.lines[1].get_xydata().tolist() == [[0.75, 0.75]]


def test_the_corner_is_enlarged_where_all_decisions_lie_in_it():
    good, bad = random_predictions(200, 8.0), random_predictions(200, 0.5)
    assert [len(axes.child_axes) for axes in roc_and_pr({"val": good, "test": good}).axes] == [1, 1]
    assert [len(axes.child_axes) for axes in roc_and_pr({"val": good, "test": bad}).axes] == [0, 0]


def test_a_part_without_benign_images_has_no_curve():
    p = Predictions(("x", "y"), np.array([1, 2]), np.array([[0.5, 0.5, 0], [0, 0, 1.0]]), ABC)
    roc, pr = roc_and_pr({"test": p}).axes
    assert texts(roc) == texts(pr) == ["needs both cancer and benign images"]


def test_the_reliability_diagram_holds_the_bins():
    p = random_predictions(400, 2.0)
    upper, lower = reliability({"test": p}).axes
    counts, confidence, accuracy = calibration_bins(p)
    full = counts > 0
    diagonal, points = upper.lines[:2]
    assert np.asarray(diagonal.get_xydata()).tolist() == [[0, 0], [1, 1]]
    assert points.get_xdata().tolist() == confidence[full].tolist()
    assert points.get_ydata().tolist() == accuracy[full].tolist()
    assert [bar.get_height() for bar in lower.patches] == counts.tolist()
    assert sum(counts) == 400


def test_class_bars_hold_the_figures_and_the_interval_of_recall():
    metrics = summarize(toy())
    metrics["precision"]["C"] = None
    (axes,) = class_bars(metrics, ABC).axes
    heights = [round(bar.get_height(), 3) for bar in axes.patches]
    assert heights == [0.5, 0.333, 0, 0.5, 0.5, 0.5, 0.5, 0.4, 0.667]
    assert texts(axes) == [
        "0.500", "0.333", "n/a", "0.500", "0.500", "0.500", "0.500", "0.400", "0.667"
    ]  # fmt: skip
    whiskers = [line.get_segments()[0][:, 1].tolist() for line in axes.collections]
    assert whiskers == [metrics["interval"][f"recall.{name}"] for name in "ABC"]
