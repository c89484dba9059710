import csv
import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from leukemia.classes import Classes
from leukemia.measure.robustness import Scored, Suite, score, summary_rows
from leukemia.report.suite_page import write_suite

CLASSES = Classes(("Benign", "Early", "Pre"))


def row(perturbation, strength, model, accuracy):
    figures = {"accuracy": accuracy, "cancer_recall": 0.5, "cancer_specificity": None}
    bounds = {"accuracy": (0.0, 1.0), "cancer_recall": (0.4, 0.6), "cancer_specificity": None}
    return Scored(perturbation, strength, strength / 10, model, figures, bounds)


@pytest.fixture
def suite():
    scored = [
        row("none", 0, "run", 0.9),
        row("hue", 1, "run", 0.8),
        row("hue", 3, "run", 0.5),
        row("hue", 5, "run", 0.0),
        row("blur", 2, "run", 1.0),
        row("none", 0, "mean colour", 0.7),
        row("hue", 3, "mean colour", 0.1),
    ]
    says = {"hue": "degrees", "blur": "pixels"}
    return Suite("a <run>", 40, (1, 2, 3), says, scored, ("LEAKY & more",))


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, (2, 200))
    figures, bounds = score(predicted, labels, CLASSES)
    cancer = labels > 0, predicted > 0
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    assert figures["cancer_recall"] == pytest.approx(recall_score(*cancer), abs=1e-12)
    assert figures["cancer_specificity"] == pytest.approx(
        recall_score(*cancer, pos_label=False), abs=1e-12
    )
    assert all(low < figures[name] < high for name, (low, high) in bounds.items())


def test_without_benign_images_the_specificity_is_undefined():
    figures, bounds = score(np.array([1, 2]), np.array([1, 1]), CLASSES)
    assert figures["cancer_specificity"] is None
    assert bounds["cancer_specificity"] is None


def test_the_loss_is_that_of_moderate_strengths_alone(suite):
    at = suite.summary()["run"]["accuracy"]
    assert at["mean_loss"] == pytest.approx((0.1 + 0.4 - 0.1) / 3)
    assert (at["worst_loss"], at["worst"]) == (pytest.approx(0.4), "hue 3")
    assert "cancer_specificity" not in suite.summary()["run"]
    assert ["mean colour", "accuracy", "0.700 [0.000, 1.000]", "+0.600", "+0.600", "hue 3"] in (
        summary_rows(suite)[1]
    )


def test_table_page_and_figure_are_written(suite, tmp_path):
    write_suite(tmp_path, "stain", suite)
    with (tmp_path / "suite_stain.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert rows[2] | {"accuracy": "0.5", "n": "40"} == rows[2]
    page = (tmp_path / "suite_stain.html").read_text()
    assert "a &lt;run&gt;" in page
    assert "LEAKY &amp; more" in page
    assert "degrees" in page
    assert (tmp_path / "figures" / "suite_stain.png").read_bytes().startswith(b"\x89PNG")
    json.dumps(suite.to_dict())
