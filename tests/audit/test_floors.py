"""Shortcut floors."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from leukemia.audit.floors import Protocol, by_feature, measure_floors
from leukemia.classes import Classes
from leukemia.measure.intervals import wilson

CLASSES = Classes(("A", "B", "C"), benign="A")
N = 120
LABELS = np.arange(N) % 3
TRAIN, TEST = np.arange(60), np.arange(60, N)
ALONE = Protocol([(TRAIN, TEST)], np.arange(N))


@pytest.fixture(scope="module")
def cues():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(N, 2))
    return {
        "nothing": noise.astype(np.float32),
        # A smooth cue tells all classes a little, a mark one of them for certain.
        "tint": (LABELS[:, None] + 0.45 * noise).astype(np.float32),
        "mark": np.c_[LABELS == 2, np.zeros(N)].astype(np.float32),
    }


def test_a_floor_is_what_scikit_learn_scores(cues):
    values = cues["tint"]
    machine = make_pipeline(StandardScaler(), SVC(C=10)).fit(values[TRAIN], LABELS[TRAIN])
    predicted, truth = machine.predict(values[TEST]), LABELS[TEST]
    (floor,) = measure_floors({"tint": values}, LABELS, CLASSES, {"paper": ALONE})
    assert floor.accuracy == accuracy_score(truth, predicted)
    assert floor.interval == wilson(int((truth == predicted).sum()), 60)
    assert floor.cancer_recall == recall_score(truth > 0, predicted > 0)
    k = CLASSES.names.index(floor.given_away)
    assert floor.balanced == pytest.approx(balanced_accuracy_score(truth == k, predicted == k))
    assert (floor.n, floor.chance) == (60, 1 / 3)


def test_a_mark_on_one_class_comes_first_though_another_cue_has_the_higher_accuracy(cues):
    floors = measure_floors(cues, LABELS, CLASSES, {"paper": ALONE})
    assert [floor.features for floor in floors] == ["mark", "tint", "nothing"]
    mark, tint, nothing = floors
    assert (mark.given_away, mark.balanced) == ("C", 1)
    assert tint.accuracy > mark.accuracy
    assert tint.above_chance
    assert not nothing.above_chance


def test_the_order_is_that_of_the_split_which_tests_most(cues):
    small = Protocol([(TRAIN, TEST[:6])], np.arange(N))
    names = list(by_feature(measure_floors(cues, LABELS, CLASSES, {"s": small, "p": ALONE})))
    assert names == ["mark", "tint", "nothing"]


def test_folds_are_scored_together(cues):
    both = Protocol([(TRAIN, TEST), (TEST, TRAIN)], np.arange(N))
    back = Protocol([(TEST, TRAIN)], np.arange(N))
    protocols = {"kfold": both, "there": ALONE, "back": back}
    pooled, there, again = measure_floors({"tint": cues["tint"]}, LABELS, CLASSES, protocols)
    assert pooled.n == N
    assert pooled.accuracy == pytest.approx((there.accuracy + again.accuracy) / 2)


def test_groups_widen_the_interval(cues):
    grouped = Protocol([(TRAIN, TEST)], np.arange(N) // 10)
    one, other = measure_floors(
        {"tint": cues["tint"]}, LABELS, CLASSES, {"alone": ALONE, "grouped": grouped}
    )
    assert one.accuracy == other.accuracy
    assert one.interval != other.interval


def test_no_more_images_are_learnt_from_than_allowed(cues):
    values = {"tint": cues["tint"]}
    (few,) = measure_floors(values, LABELS, CLASSES, {"paper": ALONE}, most=4)
    (enough,) = measure_floors(values, LABELS, CLASSES, {"paper": ALONE}, most=60)
    (every,) = measure_floors(values, LABELS, CLASSES, {"paper": ALONE})
    assert enough == every
    assert few.accuracy < every.accuracy


def test_a_rare_class_is_among_the_images_learnt_from():
    labels = np.r_[np.zeros(300, np.int64), np.ones(6, np.int64)]
    told = {"mark": labels[:, None].astype(np.float32)}
    rows = np.arange(306)
    both = Protocol([(rows, rows)], rows)
    (floor,) = measure_floors(told, labels, Classes(("A", "B"), benign="A"), {"all": both}, most=51)
    assert floor.accuracy == 1
