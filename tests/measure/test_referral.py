import json

import numpy as np
import pytest

from leukemia.measure.predictions import Predictions
from leukemia.measure.referral import referral, risk_coverage
from tests.report.samples import ABC, by_p_cancer, random_predictions


def four():
    """From the most certain: right, right, a missed cancer, a false alarm."""
    return by_p_cancer(cancer=[0.95, 0.3], benign=[0.1, 0.55])


def test_risk_coverage_of_a_literal():
    curve = risk_coverage(four())
    assert curve.accuracy.tolist() == pytest.approx([1, 1, 2 / 3, 1 / 2])
    assert curve.cancers.tolist() == [1, 1, 2, 2]
    assert curve.missed.tolist() == [0, 0, 1, 1]
    assert curve.sensitivity.tolist() == [1, 1, 0.5, 0.5]
    assert curve.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_a_threshold_decides_on_cancer_and_not_on_the_class():
    low, high, by_class = (risk_coverage(four(), t) for t in (0.25, 0.99, None))
    assert low.missed.tolist() == [0, 0, 0, 0]
    assert high.missed.tolist() == [1, 1, 2, 2]
    assert low.accuracy.tolist() == high.accuracy.tolist() == by_class.accuracy.tolist()


def test_equally_certain_images_count_as_their_mean():
    # Right and wrong at 0.75 both, below a sure right one.
    p = by_p_cancer(cancer=[1.0, 0.25], benign=[0.25])
    curve = risk_coverage(p)
    assert curve.accuracy.tolist() == pytest.approx([1, 1.5 / 2, 2 / 3])
    assert curve.missed.tolist() == [0, 0.5, 1]


def test_the_order_of_the_files_does_not_matter():
    p = by_p_cancer([0.75, 0.25, 0.25, 0.9], [0.25, 0.75, 0.1, 0.25])
    shuffled = np.random.default_rng(1).permutation(8)
    other = Predictions(
        tuple(p.files[i] for i in shuffled),
        p.labels[shuffled],
        p.probabilities[shuffled],
        p.classes,
    )
    for one, two in zip(risk_coverage(p), risk_coverage(other), strict=True):
        assert one.tolist() == pytest.approx(two.tolist())


def test_certainties_that_round_to_1_are_still_told_apart():
    rows = np.array([[1.0, 1e-20, 0.0], [1e-30, 1.0, 0.0]])
    # The first is wrong, and 1e-20 from certain; the second is right, and more certain.
    p = Predictions(("x", "y"), np.array([1, 1]), rows, ABC)
    assert risk_coverage(p).accuracy.tolist() == [1, 0.5]


def test_the_curve_agrees_with_dropping_images_one_by_one():
    p = random_predictions(100, 1.0)
    order = np.argsort(-p.probabilities.max(axis=1))
    curve = risk_coverage(p)
    called = p.predicted != 0
    for kept in range(1, 101):
        rest = order[:kept]
        assert curve.accuracy[kept - 1] == pytest.approx(
            (p.labels[rest] == p.predicted[rest]).mean()
        )
        cancers = rest[p.cancer[rest]]
        if len(cancers):
            assert curve.sensitivity[kept - 1] == pytest.approx(called[cancers].mean())
        else:
            assert np.isnan(curve.sensitivity[kept - 1])
    assert curve.area == pytest.approx(1 - curve.accuracy.mean())


def test_referral_has_the_shares_of_the_issue_and_refers_no_more():
    rows = referral(random_predictions(50, 1.0))
    assert [row["referred"] for row in rows] == [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
    assert [row["n"] for row in rows] == [50, 48, 45, 43, 40, 38, 35]
    assert [row["n"] for row in referral(random_predictions(400))][3] == 340


def test_referral_of_a_literal():
    # Ten images; the least certain is wrong, then comes the missed cancer.
    p = by_p_cancer([0.99, 0.98, 0.97, 0.96, 0.3], [0.05, 0.05, 0.05, 0.05, 0.6])
    rows = {row["referred"]: row for row in referral(p)}
    assert (rows[0.0]["accuracy"], rows[0.0]["missed"], rows[0.0]["sensitivity"]) == (0.8, 1, 0.8)
    assert rows[0.1]["accuracy"] == pytest.approx(8 / 9)
    assert rows[0.1]["sensitivity"] == 0.8
    assert (rows[0.2]["accuracy"], rows[0.2]["sensitivity"], rows[0.2]["n"]) == (1, 1, 8)
    assert rows[0.2]["cancers"] == 4


def test_without_cancer_the_sensitivity_is_null_and_a_single_image_always_stays():
    rows = referral(by_p_cancer([], [0.25]))
    assert {row["n"] for row in rows} == {1}
    assert {row["sensitivity"] for row in rows} == {None}
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
