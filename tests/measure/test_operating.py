import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.intervals import proportion, wilson
from leukemia.measure.operating import (
    at_most,
    at_threshold,
    bootstrap_weights,
    choose_threshold,
    review_confidence,
    sensitivity_at_specificity,
    uncertain,
)
from leukemia.measure.predictions import Predictions
from tests.report.samples import ABC, by_p_cancer, random_predictions, toy

EIGHTHS = st.lists(st.integers(0, 8).map(lambda k: k / 8), min_size=1, max_size=12)


def above(score):
    return float(np.nextafter(score, 1))


def test_the_threshold_is_just_above_the_benign_images_that_the_wanted_sensitivity_spares():
    # Four cancers; three of them (0.75) are all that is wanted, so 0.125 may be missed.
    p = by_p_cancer(cancer=[0.125, 0.375, 0.5, 0.875], benign=[0.0, 0.25, 0.3125])
    assert choose_threshold(p, 0.75) == above(0.3125)
    # All four wanted: 0.125 must be called, and only the benign image at 0 can be spared.
    assert choose_threshold(p, 1.0) == choose_threshold(p, 0.76) == above(0.0)


def test_where_validation_is_perfectly_separated_the_threshold_is_at_the_low_end_of_the_gap():
    p = by_p_cancer(cancer=[0.375, 0.875], benign=[0.0, 0.125])
    assert choose_threshold(p, 0.995) == above(0.125)
    chosen = at_threshold(p, choose_threshold(p, 0.995))
    assert (chosen["sensitivity"], chosen["specificity"]) == (1, 1)


def test_the_threshold_is_never_above_one_half():
    sure = by_p_cancer(cancer=[0.75, 0.875, 1.0], benign=[0.0, 0.625])
    assert choose_threshold(sure, 0.995) == 0.5
    assert choose_threshold(sure, 0.1) == 0.5


def test_equal_cancers_are_called_together():
    p = by_p_cancer(cancer=[0.25, 0.25, 0.25, 0.375], benign=[0.125, 0.25])
    # Half of four would be two, but 0.25 holds three; the benign image there is called as well.
    assert choose_threshold(p, 0.5) == above(0.125)
    assert choose_threshold(p, 0.25) == above(0.25)


def test_without_benign_images_below_it_the_threshold_is_that_of_a_cancer():
    assert choose_threshold(by_p_cancer([0.25, 0.375], []), 1.0) == 0.25
    assert choose_threshold(by_p_cancer([0.25, 0.375], [0.75]), 0.5) == 0.375
    assert choose_threshold(by_p_cancer([0.25], []), 0.995) == 0.25


def test_shares_are_compared_exactly():
    # 0.55 * 100 is 55.00000000000001 in floating point; 55 of 100 are enough all the same.
    scores = np.arange(1, 101) / 256
    p = by_p_cancer(scores, scores)
    assert choose_threshold(p, 0.55) == above(scores[44])
    assert [at_most(0.55, 100), at_most(0.1, 400), at_most(0.3, 10), at_most(0.0, 3)] == [
        55, 40, 3, 0,
    ]  # fmt: skip
    assert at_most(0.99, 1) == 0


@settings(max_examples=200, deadline=None)
@given(cancer=EIGHTHS, benign=EIGHTHS, wanted=st.sampled_from([0.1, 0.5, 0.75, 0.995, 1.0]))
def test_the_threshold_has_the_specificity_of_sklearns_best_admissible_one_or_is_one_half(
    cancer, benign, wanted
):
    p = by_p_cancer(cancer, benign)
    fpr, tpr, _ = roc_curve(p.cancer, p.p_cancer, drop_intermediate=False)
    best = 1 - fpr[tpr >= wanted].min()
    threshold = choose_threshold(p, wanted)
    found = at_threshold(p, threshold)
    assert found["sensitivity"] >= max(wanted, at_threshold(p, 0.5)["sensitivity"])
    assert 0 <= threshold <= 0.5
    if threshold < 0.5:
        assert found["specificity"] == pytest.approx(best)
    else:
        assert found["specificity"] <= best + 1e-9


@pytest.mark.parametrize("wanted", [0.0, -0.5, 1.5, float("nan")])
def test_a_sensitivity_that_cannot_be_wanted_is_refused(wanted):
    with pytest.raises(UserError, match=r"sensitivity to be in \(0, 1\], but got " + str(wanted)):
        choose_threshold(toy(), wanted)


def test_a_part_without_cancer_is_refused():
    with pytest.raises(UserError, match=r"at least one cancer image.*all 2 images are A"):
        choose_threshold(by_p_cancer([], [0.25, 0.5]), 0.995)


def test_the_toy_at_a_threshold_has_the_figures_that_a_reader_works_out():
    # P(cancer): benign 0.25, 0.75; cancer 0.875, 0.5, 1, 1.
    high = at_threshold(toy(), 0.8)
    assert high == {
        "threshold": 0.8,
        "sensitivity": 0.75,
        "specificity": 1.0,
        "interval": {
            "sensitivity": list(wilson(3, 4)),
            "specificity": [pytest.approx(0.05 ** (1 / 2)), 1.0],
        },
        "cancers": 4,
        "benigns": 2,
        "false_positives": 0,
        "false_negatives": [{"file": "b2", "label": "B", "p_cancer": 0.5}],
    }
    at = at_threshold(toy(), 0.5)  # the threshold itself is called cancer
    assert (at["sensitivity"], at["specificity"], at["false_negatives"]) == (1, 0.5, [])
    assert at["false_positives"] == 1


def test_missed_cancers_are_listed_the_most_surely_missed_first():
    missed = at_threshold(by_p_cancer([0.375, 0.125, 0.75, 0.25], [0.0]), 0.5)["false_negatives"]
    assert [one["file"] for one in missed] == ["c1", "c3", "c0"]


def test_an_absent_class_leaves_its_share_undefined():
    only_cancer = at_threshold(by_p_cancer([0.25], []), 0.5)
    assert (only_cancer["sensitivity"], only_cancer["specificity"]) == (0, None)
    assert only_cancer["interval"]["specificity"] is None
    only_benign = at_threshold(by_p_cancer([], [0.25]), 0.5)
    assert (only_benign["sensitivity"], only_benign["specificity"]) == (None, 1)
    for p in (by_p_cancer([0.25], []), by_p_cancer([], [0.25])):
        for row in sensitivity_at_specificity(p, n_boot=5):
            assert row["sensitivity"] is row["interval"] is row["threshold"] is None


def test_copies_in_one_group_widen_the_interval():
    p = random_predictions(80, 1.0)
    copies = np.repeat(np.arange(80), 5)
    files = tuple(f"{i}" for i in range(400))
    five = Predictions(files, p.labels[copies], p.probabilities[copies], p.classes)
    alone = at_threshold(five, 0.5)["interval"]["sensitivity"]
    grouped = at_threshold(five, 0.5, copies)["interval"]["sensitivity"]
    assert np.ptp(grouped) > 1.7 * np.ptp(alone)


def test_sensitivity_at_specificity_of_a_literal():
    benign = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.8]
    p = by_p_cancer([0.45, 0.6, 0.7, 0.9], benign)
    rows = sensitivity_at_specificity(p, (0.8, 0.9, 0.95, 1.0), n_boot=50)
    # At 0.45 two benign images are called, at 0.6 one, at 0.9 none.
    assert [row["sensitivity"] for row in rows] == [1.0, 0.75, 0.25, 0.25]
    assert [row["threshold"] for row in rows] == [0.45, 0.6, 0.9, 0.9]
    assert [row["specificity"] for row in rows] == [0.8, 0.9, 0.95, 1.0]
    assert rows[0]["interval"] == pytest.approx([0.05 ** (1 / 4), 1])


def test_where_a_benign_image_is_on_top_only_calling_none_is_specific():
    (row,) = sensitivity_at_specificity(by_p_cancer([0.5, 0.75], [0.25, 0.75]), (0.9,), n_boot=5)
    assert (row["sensitivity"], row["threshold"]) == (0, None)
    assert row["interval"] == pytest.approx([0, 1 - 0.05 ** (1 / 2)])


@settings(max_examples=200, deadline=None)
@given(cancer=EIGHTHS, benign=EIGHTHS)
def test_sensitivity_at_specificity_agrees_with_sklearns_roc_curve(cancer, benign):
    p = by_p_cancer(cancer, benign)
    fpr, tpr, _ = roc_curve(p.cancer, p.p_cancer, drop_intermediate=False)
    alarms = np.round(fpr * len(benign))
    for row in sensitivity_at_specificity(p, n_boot=1):
        admissible = (len(benign) - alarms) / len(benign) >= row["specificity"]
        assert row["sensitivity"] == pytest.approx(tpr[admissible].max())
        if row["threshold"] is not None:
            chosen = at_threshold(p, row["threshold"])
            assert chosen["sensitivity"] == row["sensitivity"]
            assert chosen["specificity"] >= row["specificity"]


def test_each_resample_draws_as_many_groups_as_there_are():
    weights = bootstrap_weights(7, 500, seed=0)
    assert weights.shape == (500, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)
    assert (weights == bootstrap_weights(7, 500, seed=0)).all()
    assert (weights != bootstrap_weights(7, 500, seed=1)).any()


def test_its_interval_has_the_variance_of_resamples_that_choose_the_threshold_anew():
    p, groups = random_predictions(60, 1.0, seed=3), np.arange(60) // 2
    values = []
    for drawn in bootstrap_weights(30, 40, seed=7).astype(int):
        chosen = np.repeat(np.arange(60), drawn[groups])
        fpr, tpr, _ = roc_curve(p.cancer[chosen], p.p_cancer[chosen], drop_intermediate=False)
        values.append(tpr[fpr <= 0.1 + 1e-9].max())
    (row,) = sensitivity_at_specificity(p, (0.9,), groups, n_boot=40, seed=7)
    at = p.p_cancer >= row["threshold"]
    variance = np.var(values) * 30 / 29
    expected = proportion(at, p.cancer, groups, least_variance=variance)
    assert row["interval"] == pytest.approx(list(expected))
    assert np.ptp(row["interval"]) > np.ptp(proportion(at, p.cancer, groups))


def test_one_group_alone_has_no_interval():
    p, one = random_predictions(40, 1.0), np.zeros(40, dtype=np.int64)
    assert sensitivity_at_specificity(p, (0.9,), one, n_boot=5)[0]["interval"] is None
    assert at_threshold(p, 0.5, one)["interval"] == {"sensitivity": None, "specificity": None}


def test_the_review_confidence_refers_no_more_than_the_wanted_share():
    top = np.array([0.9, 0.6, 0.8, 0.7, 0.95])
    probabilities = np.stack([top, 1 - top], axis=1)
    assert review_confidence(probabilities, 0.0) == 0.6
    assert review_confidence(probabilities, 0.2) == 0.7
    assert review_confidence(probabilities, 0.39) == 0.7
    assert review_confidence(probabilities, 0.4) == 0.8
    tied = np.tile([0.75, 0.25], (10, 1))
    assert (tied.max(axis=1) < review_confidence(tied, 0.1)).sum() == 0
    assert review_confidence(tied[:1], 0.1) == 0.75
    assert review_confidence(np.array([[1 + 1e-7, 0.0]]), 0.1) == 1  # rounding, not confidence


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_a_share_that_cannot_be_reviewed_is_refused(share):
    with pytest.raises(UserError, match=r"review to be in \[0, 1\), but got " + str(share)):
        review_confidence(np.array([[0.5, 0.5]]), share)


def test_an_image_is_uncertain_between_the_limits_where_unsure_or_where_its_decisions_differ():
    rows = {
        (0.875, 0.125, 0.0): False,  # benign, below both limits
        (0.75, 0.25, 0.0): True,  # at the threshold of 0.25: called cancer, yet below 0.5
        (0.625, 0.375, 0.0): True,  # between
        (0.25, 0.75, 0.0): False,  # cancer by all three
        (0.5, 0.5, 0.0): True,  # P(cancer) is 0.5, and yet benign comes first
        (0.4, 0.3, 0.3): True,  # benign comes first, though cancer is more probable
        (0.0, 0.55, 0.45): True,  # cancer for sure, but which
        (0.0, 0.6, 0.4): False,  # at the confidence itself
    }
    found = uncertain(np.array(list(rows)), ABC, threshold=0.25, confidence=0.6)
    assert found.tolist() == list(rows.values())
    # With a threshold of one half nothing lies between; with no confidence nothing is unsure.
    relaxed = uncertain(np.array(list(rows)), ABC, threshold=0.5, confidence=0.0)
    assert relaxed.tolist() == [False, False, False, False, True, True, False, False]


def test_uncertain_asks_the_classes_which_is_benign():
    row = np.array([[0.1, 0.85, 0.05]])
    assert uncertain(row, Classes(("A", "B", "C"), "B"), 0.1, 0.5).tolist() == [True]
    assert uncertain(row, Classes(("A", "B", "C"), "A"), 0.1, 0.5).tolist() == [False]


def test_the_figures_are_plain_values():
    p = random_predictions(60)
    for figures in (at_threshold(p, 0.25), sensitivity_at_specificity(p, n_boot=5)):
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures
