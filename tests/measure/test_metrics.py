import json
import math
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from leukemia.classes import Classes
from leukemia.measure.intervals import bootstrap_weights, wilson
from leukemia.measure.metrics import calibration_bins, summarize
from leukemia.measure.predictions import Predictions
from tests.report.samples import ABC, random_predictions, toy

FOUR = Classes()


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def brier(p):
    """In plain Python: the squared error summed over classes, its mean over files."""
    total = 0.0
    for label, row in zip(p.labels, p.probabilities, strict=True):
        total += sum((x - (i == label)) ** 2 for i, x in enumerate(row))
    return total / len(p.labels)


def ece(p):
    """In plain Python, over bins (k/15, (k+1)/15]."""
    total = 0.0
    for k in range(15):
        inside = [
            (max(row), int(np.argmax(row)) == label)
            for label, row in zip(p.labels, p.probabilities, strict=True)
            if k / 15 < max(row) <= (k + 1) / 15
        ]
        total += abs(sum(hit for _, hit in inside) - sum(top for top, _ in inside))
    return total / len(p.labels)


def by_sklearn(p):
    """Every scalar; None where one of the two sides of a ranking or a proportion is absent."""
    labels, classes = p.labels, list(range(len(p.classes)))
    predicted = p.predicted
    benign = p.classes.benign_labels[0]
    cancer, called = labels != benign, predicted != benign
    both = cancer.any() and not cancer.all()
    return {
        "accuracy": sk.accuracy_score(labels, predicted),
        "macro_f1": sk.f1_score(labels, predicted, average="macro"),
        "cancer_recall": sk.recall_score(cancer, called) if cancer.any() else None,
        "cancer_specificity": (sk.recall_score(~cancer, ~called) if not cancer.all() else None),
        "roc_auc": sk.roc_auc_score(cancer, p.p_cancer) if both else None,
        "average_precision": sk.average_precision_score(cancer, p.p_cancer) if both else None,
        "nll": sk.log_loss(labels, p.probabilities, labels=classes),
        "brier": brier(p),
        "ece": ece(p),
    }


def test_the_toy_has_the_figures_that_a_reader_works_out():
    m = summarize(toy())
    assert m["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 1, 1]]
    assert m["n"] == 6
    assert m["accuracy"] == 0.5
    assert m["recall"] == {"A": 0.5, "B": 0.5, "C": 0.5}
    assert m["precision"] == pytest.approx({"A": 1 / 2, "B": 1 / 3, "C": 1})
    assert m["f1"] == pytest.approx({"A": 1 / 2, "B": 2 / 5, "C": 2 / 3})
    assert m["macro_f1"] == pytest.approx((1 / 2 + 2 / 5 + 2 / 3) / 3)
    assert m["cancer_recall"] == 0.75
    assert m["cancer_specificity"] == 0.5
    # p_cancer: benign 0.25, 0.75; cancer 0.875, 0.5, 1, 1. Of 8 pairs one is the wrong way round.
    assert m["roc_auc"] == pytest.approx(7 / 8)
    # From the top: 1 and 1 (two cancers), 0.875 (a third), 0.75 (benign), 0.5 (the fourth).
    assert m["average_precision"] == pytest.approx((2 * 1 + 1 + 4 / 5) / 4)
    likelihoods = [0.75, 0.25, 0.75, 0.25, 0.75, 0.5]
    assert m["nll"] == pytest.approx(-sum(map(math.log, likelihoods)) / 6)
    assert m["brier"] == pytest.approx((0.125 + 1.125 + 0.09375 + 0.875 + 0.125 + 0.5) / 6)
    # Top 0.75 (4 files, 3 right), top 0.5 (2 files, none right): |3 - 3| and |0 - 1|.
    assert m["ece"] == pytest.approx(1 / 6)


def test_the_keys_are_those_of_the_contract():
    m = summarize(random_predictions())
    assert list(m) == [
        "accuracy", "macro_f1", "cancer_recall", "cancer_specificity", "precision", "recall",
        "f1", "confusion", "n", "roc_auc", "average_precision", "nll", "brier", "ece", "interval",
    ]  # fmt: skip
    assert set(m["interval"]) == {
        "accuracy", "macro_f1", "cancer_recall", "cancer_specificity", "roc_auc",
        "average_precision", "nll", "brier", "ece",
        "recall.Benign", "recall.Early", "recall.Pre", "recall.Pro",
    }  # fmt: skip
    assert json.loads(json.dumps(m, allow_nan=False)) == m


@pytest.mark.parametrize("gain", [0.0, 2.0, 5.0])
@pytest.mark.parametrize("benign", ["Benign", "Pre"])
def test_figures_agree_with_sklearn(gain, benign):
    p = random_predictions(400, gain, classes=Classes(benign=benign))
    m = summarize(p, n_boot=1)
    for name, value in by_sklearn(p).items():
        assert m[name] == pytest.approx(value, abs=1e-9), name
    kinds = sk.precision_recall_fscore_support(p.labels, p.predicted)
    for kind, values in zip(("precision", "recall", "f1"), kinds, strict=False):
        assert list(m[kind]) == list(FOUR.names)
        assert list(m[kind].values()) == pytest.approx(list(values), abs=1e-9)
    assert m["confusion"] == sk.confusion_matrix(p.labels, p.predicted).tolist()


@st.composite
def tied_predictions(draw):
    """Few files, classes that may be absent, and probabilities of which many are equal."""
    n = draw(st.integers(1, 25))
    labels = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    row = st.lists(st.integers(0, 4), min_size=4, max_size=4).filter(any)
    counts = np.array(draw(st.lists(row, min_size=n, max_size=n)), dtype=float)
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    return Predictions(tuple(map(str, range(n))), np.array(labels), probabilities, FOUR)


@settings(max_examples=80, deadline=None)
@given(p=tied_predictions())
def test_figures_agree_with_sklearn_on_ties_and_absent_classes(p):
    m = summarize(p, n_boot=3)
    json.dumps(m, allow_nan=False)
    for name, value in by_sklearn(p).items():
        if name == "ece":
            continue  # top probabilities such as 1/3 lie on the edge of a bin here
        assert m[name] == (None if value is None else pytest.approx(value, abs=1e-9)), name


def test_calibration_error_agrees_with_torchmetrics():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    p = random_predictions(500, 3.0, seed=4)
    expected = functional.multiclass_calibration_error(
        torch.tensor(p.probabilities), torch.tensor(p.labels), num_classes=4, n_bins=15, norm="l1"
    )
    assert summarize(p, n_boot=1)["ece"] == pytest.approx(float(expected), abs=1e-6)


def test_a_certain_prediction_falls_into_the_last_bin():
    one = np.array([[0.0, 1.0, 0.0], [0.0, 1.0 + 1e-7, 0.0], [0.03, 0.97, 0.0]])
    p = Predictions(("x", "y", "z"), np.array([1, 1, 0]), one, ABC)
    counts, confidence, accuracy = calibration_bins(p)
    assert counts.tolist() == [0] * 14 + [3]
    assert confidence[-1] == pytest.approx(0.99)
    assert accuracy[-1] == pytest.approx(2 / 3)
    assert np.isnan(accuracy[:-1]).all()


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    edge = np.linspace(0, 1, 16)[12]
    p = Predictions(("x",), np.array([0]), np.array([[edge, 1 - edge, 0]]), ABC)
    assert calibration_bins(p)[0].tolist() == [0] * 11 + [1, 0, 0, 0]


def test_a_probability_of_0_for_the_truth_costs_much_and_not_infinitely():
    p = Predictions(("x",), np.array([0]), np.array([[0.0, 1.0, 0.0]]), ABC)
    assert summarize(p)["nll"] == pytest.approx(-math.log(np.finfo(float).eps))


def test_what_an_absent_class_leaves_undefined_is_null():
    p = random_predictions(40)
    cancer = p.labels != 0
    files = tuple(f for f, keep in zip(p.files, cancer, strict=True) if keep)
    m = summarize(Predictions(files, p.labels[cancer], p.probabilities[cancer], FOUR))
    assert m["recall"]["Benign"] is None
    assert m["interval"]["recall.Benign"] is None
    for name in ("cancer_specificity", "roc_auc", "average_precision"):
        assert m[name] is None
        assert m["interval"][name] is None
    assert m["cancer_recall"] is not None
    assert m["macro_f1"] is not None
    json.dumps(m, allow_nan=False)


def test_the_precision_of_a_class_never_predicted_is_null_and_its_f1_is_0():
    p = Predictions(("x", "y"), np.array([0, 2]), np.array([[0.9, 0.1, 0], [0.8, 0.2, 0]]), ABC)
    m = summarize(p)
    assert m["precision"] == {"A": 0.5, "B": None, "C": None}
    assert m["f1"] == {"A": pytest.approx(2 / 3), "B": None, "C": 0}
    assert m["macro_f1"] == pytest.approx(1 / 3)  # B occurs nowhere and is left out


def test_proportions_have_wilsons_interval_where_images_stand_for_themselves():
    p = random_predictions(120)
    hit = p.labels == p.predicted
    for groups in (None, np.arange(120)[::-1] * 7):
        interval = summarize(p, groups, n_boot=20)["interval"]
        assert interval["accuracy"] == list(wilson(int(hit.sum()), 120))
        benign = p.labels == 0
        assert interval["cancer_specificity"] == list(wilson(int(hit[benign].sum()), 30))
        assert interval["recall.Benign"] == interval["cancer_specificity"]
        called = p.predicted[~benign] != 0
        assert interval["cancer_recall"] == list(wilson(int(called.sum()), 90))


def test_the_bootstrap_equals_resampling_the_images_themselves():
    p = random_predictions(80, 1.0, seed=2)
    n_boot = 40
    weights = bootstrap_weights(80, n_boot, seed=5).astype(int)
    resamples = []
    for row in weights:
        chosen = np.repeat(np.arange(80), row)
        files = tuple(p.files[i] for i in chosen)
        resamples.append(
            by_sklearn(Predictions(files, p.labels[chosen], p.probabilities[chosen], FOUR))
        )
    interval = summarize(p, n_boot=n_boot, seed=5)["interval"]
    for name in ("macro_f1", "roc_auc", "average_precision", "nll", "brier", "ece"):
        expected = np.quantile([r[name] for r in resamples], [0.025, 0.975])
        assert interval[name] == pytest.approx(list(expected), abs=1e-9), name


def test_copies_in_one_group_add_no_certainty():
    p = random_predictions(60, 1.0)
    copies = np.random.default_rng(0).permutation(np.repeat(np.arange(60), 5))
    files = tuple(p.files[i] for i in copies)
    five = Predictions(files, p.labels[copies], p.probabilities[copies], p.classes)
    once = summarize(p)["interval"]
    grouped = summarize(five, copies * 3)["interval"]
    for name in ("macro_f1", "roc_auc", "average_precision", "nll", "brier", "ece"):
        assert grouped[name] == pytest.approx(once[name], abs=1e-9), name
    # About as wide as for 60 images, and not as narrow as for 300.
    for name in ("accuracy", "cancer_recall", "recall.Pre"):
        assert np.diff(grouped[name]) == pytest.approx(np.diff(once[name]), rel=0.2)
        assert np.diff(grouped[name]) > 1.6 * np.diff(summarize(five)["interval"][name])


def test_no_mistake_in_ten_groups_is_an_interval_and_not_certainty():
    p = random_predictions(40, 50.0)
    m = summarize(p, np.arange(40) // 4)
    assert m["accuracy"] == 1
    assert m["interval"]["accuracy"] == list(wilson(10, 10))


def test_one_group_alone_gives_no_interval():
    m = summarize(random_predictions(40), np.zeros(40, dtype=np.int64))
    assert set(m["interval"].values()) == {None}


def test_intervals_follow_the_seed():
    p = random_predictions()
    assert summarize(p)["interval"] == summarize(p, seed=0)["interval"]
    assert summarize(p)["interval"]["nll"] != summarize(p, seed=1)["interval"]["nll"]


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="Expected 6 groups"):
        summarize(toy(), np.zeros(5, dtype=np.int64))


def test_a_thousand_resamples_of_400_images_take_less_than_2_s():
    p = random_predictions(400)
    start = time.perf_counter()
    summarize(p, np.arange(400) // 4)
    assert time.perf_counter() - start < 2
