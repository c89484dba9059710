import json
import math
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from leukemia.classes import Classes
from leukemia.measure.intervals import (
    jackknife,
    of_share,
    positive,
    shown,
    usual_trials,
    wilson,
)
from leukemia.measure.metrics import calibration_bins, scores_without, summarize
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
    m = summarize(p)
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
    m = summarize(p)
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
    assert summarize(p)["ece"] == pytest.approx(float(expected), abs=1e-6)


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
        interval = summarize(p, groups)["interval"]
        assert interval["accuracy"] == list(wilson(int(hit.sum()), 120))
        benign = p.labels == 0
        assert interval["cancer_specificity"] == list(wilson(int(hit[benign].sum()), 30))
        assert interval["recall.Benign"] == interval["cancer_specificity"]
        called = p.predicted[~benign] != 0
        assert interval["cancer_recall"] == list(wilson(int(called.sum()), 90))


def part_of(p, rows):
    return Predictions(
        tuple(p.files[i] for i in rows), p.labels[rows], p.probabilities[rows], p.classes
    )


def test_every_figure_without_a_group_is_that_of_the_other_images():
    p, groups = random_predictions(80, 1.0, seed=2), np.random.default_rng(0).integers(9, size=80)
    without = scores_without(p, groups)
    for group in range(9):
        expected = by_sklearn(part_of(p, np.flatnonzero(groups != group)))
        for name, value in expected.items():
            assert without[name][group] == pytest.approx(value, abs=1e-9), name
    assert {len(values) for values in without.values()} == {9}


def test_intervals_follow_from_the_figures_without_each_group():
    p, groups = random_predictions(120, 1.0, seed=3), np.arange(120) // 10
    m, without = summarize(p, groups), scores_without(p, groups)
    for name, most in (("nll", np.inf), ("brier", 2), ("ece", 1)):
        assert m["interval"][name] == pytest.approx(list(positive(m[name], without[name], most)))
    # A ranking is worth as many trials as the smaller side.
    sides = [np.bincount(groups[side]) for side in (p.cancer, ~p.cancer)]
    assert all((side > 0).all() for side in sides)
    usual = min(float(usual_trials(side)) for side in sides)
    for name in ("roc_auc", "average_precision"):
        pair = of_share(np.array(m[name]), without[name], np.array(usual), np.array(6.0))
        assert m["interval"][name] == pytest.approx([float(end) for end in pair])


def test_the_variance_of_the_auc_is_delongs():
    # E. R. DeLong et al. (1988), doi:10.2307/2531595: from each image's share of pairs in order.
    p = random_predictions(400, 1.0, seed=1)
    cancer, benign = p.p_cancer[p.cancer], p.p_cancer[~p.cancer]
    above = (cancer[:, None] > benign).astype(float)
    delong = above.mean(axis=1).var(ddof=1) / len(cancer)
    delong += above.mean(axis=0).var(ddof=1) / len(benign)
    variance, _ = jackknife(np.array(above.mean()), scores_without(p, None)["roc_auc"])
    assert variance == pytest.approx(delong, rel=0.01)


def test_copies_in_one_group_add_no_certainty():
    p = random_predictions(60, 1.0)
    copies = np.random.default_rng(0).permutation(np.repeat(np.arange(60), 5))
    files = tuple(p.files[i] for i in copies)
    five = Predictions(files, p.labels[copies], p.probabilities[copies], p.classes)
    once = summarize(p)["interval"]
    grouped = summarize(five, copies * 3)["interval"]
    for name in ("nll", "brier", "ece"):
        assert grouped[name] == pytest.approx(once[name], abs=1e-9), name
    # About as wide as for 60 images, and not as narrow as for 300.
    five_times = summarize(five)["interval"]
    for name in ("macro_f1", "roc_auc", "average_precision", "accuracy", "cancer_recall"):
        assert np.diff(grouped[name]) == pytest.approx(np.diff(once[name]), rel=0.2), name
        assert np.diff(grouped[name]) > 1.6 * np.diff(five_times[name]), name


def test_no_mistake_in_ten_groups_is_an_interval_and_not_certainty():
    p = random_predictions(40, 50.0)
    m = summarize(p, np.arange(40) // 4)
    assert m["accuracy"] == 1
    assert m["interval"]["accuracy"] == pytest.approx([0.05 ** (1 / 10), 1])


def test_no_figure_of_32_images_without_a_mistake_has_an_interval_of_no_width():
    p = random_predictions(32, 50.0)
    m = summarize(p)
    limits = {"accuracy": 32, "cancer_recall": 24, "cancer_specificity": 8, "recall.Pre": 8}
    # Eight pairs of a cancer and a benign image, and eight images of the rarest class.
    limits |= {"roc_auc": 8, "average_precision": 8, "macro_f1": 8}
    for name, trials in limits.items():
        assert m["interval"][name] == pytest.approx([0.05 ** (1 / trials), 1]), name
    assert shown(m["roc_auc"], m["interval"]["roc_auc"]) == "1.000 (at least 0.688)"
    pairs = [pair for pair in m["interval"].values() if pair is not None]
    assert all(low < high for low, high in pairs)


@settings(max_examples=40, deadline=None)
@given(p=tied_predictions(), per_group=st.integers(1, 6))
def test_an_interval_holds_its_figure_and_has_width(p, per_group):
    m = summarize(p, np.arange(len(p.files)) // per_group)
    for name, pair in m["interval"].items():
        kind, _, label = name.partition(".")
        value = m[kind][label] if label else m[name]
        if pair is not None:
            assert pair[0] <= value + 1e-12, name
            assert value - 1e-12 <= pair[1], name
            assert pair[0] < pair[1], name
            if name not in ("nll", "brier", "ece"):
                assert 0 <= pair[0] < pair[1] <= 1, name


def test_equal_losses_have_no_interval_for_rounding_is_no_spread():
    p = random_predictions(60)
    m = summarize(replace(p, probabilities=np.full((60, 4), 0.25)), np.arange(60) // 6)
    assert m["nll"] == pytest.approx(math.log(4))
    assert m["interval"]["nll"] is m["interval"]["brier"] is None
    low, high = m["interval"]["roc_auc"]
    assert low < 0.3 < 0.5 < 0.7 < high  # one half, whichever group is left out


def test_of_many_groups_several_are_left_out_at_a_time():
    p = random_predictions(1200, 1.0)
    without = scores_without(p, None)
    assert {len(values) for values in without.values()} == {500}
    variance, support = jackknife(np.array(summarize(p)["accuracy"]), without["accuracy"])
    share = (p.labels == p.predicted).mean()
    assert variance == pytest.approx(share * (1 - share) / 1200, rel=0.15)
    assert 150 < support <= 500


def test_a_class_within_one_group_leaves_what_rests_on_it_without_an_interval():
    p = random_predictions(80, 1.0)
    groups = np.where(p.labels == 0, 99, np.arange(80) % 7)
    interval = summarize(p, groups)["interval"]
    for name in ("roc_auc", "average_precision", "macro_f1", "cancer_specificity"):
        assert interval[name] is None
    assert interval["cancer_recall"] is not None
    assert interval["nll"] is not None


def test_one_group_alone_gives_no_interval():
    m = summarize(random_predictions(40), np.zeros(40, dtype=np.int64))
    assert set(m["interval"].values()) == {None}


def test_intervals_are_the_same_each_time():
    p = random_predictions(700)
    assert summarize(p) == summarize(p)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="Expected 6 groups"):
        summarize(toy(), np.zeros(5, dtype=np.int64))


def test_the_intervals_of_3000_images_take_less_than_4_s():
    p = random_predictions(3000)
    start = time.perf_counter()
    summarize(p)
    assert time.perf_counter() - start < 4
