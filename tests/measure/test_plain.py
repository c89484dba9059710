"""Figures where no class is benign, and where several are."""

import json
from dataclasses import replace

import numpy as np
import pytest

from leukemia.classes import CANCER_FIGURES, Classes
from leukemia.errors import UserError
from leukemia.measure.calibration import Calibration, fit_calibration
from leukemia.measure.comparison import compare, comparison_rows
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions, is_cancer, read_predictions
from leukemia.measure.referral import judge
from leukemia.measure.robustness import Scored, Suite, score, summary_rows
from tests.report.samples import random_predictions

FIVE = Classes(("a", "b", "c", "d", "e"), benign=None)
TWO_OF_FIVE = Classes(("a", "b", "c", "d", "e"), benign=("b", "d"))


def plain(n=100, gain=2.0, seed=0):
    return random_predictions(n, gain, seed, FIVE)


def collapsed(part: Predictions) -> Predictions:
    """The same images as benign against cancer, by probability alone."""
    benign = [1, 3]
    cancer = [0, 2, 4]
    p = np.stack([part.probabilities[:, k].sum(axis=1) for k in (benign, cancer)], axis=1)
    labels = np.isin(part.labels, cancer).astype(np.int64)
    return Predictions(part.files, labels, p, Classes(("benign", "rest"), benign="benign"))


def test_a_plain_classifier_has_the_same_figures_but_none_of_cancer():
    part = plain()
    ours = summarize(part)
    theirs = summarize(replace(part, classes=Classes(FIVE.names, "a")))
    assert set(theirs) - set(ours) == set(CANCER_FIGURES)
    assert set(theirs["interval"]) - set(ours["interval"]) == set(CANCER_FIGURES)
    for name in set(ours) - {"interval"}:
        assert ours[name] == theirs[name]
    for name in ours["interval"]:
        assert ours["interval"][name] == theirs["interval"][name]


def test_nothing_tells_cancer_where_no_class_is_benign():
    with pytest.raises(ValueError, match="benign class among"):
        _ = plain().p_cancer
    with pytest.raises(ValueError, match="benign class among"):
        is_cancer(np.array([0, 1]), FIVE)


def test_a_table_without_cancer_is_read_back(tmp_path):
    part = plain(20)
    part.write(tmp_path / "test.csv")
    header = (tmp_path / "test.csv").read_text().splitlines()[0]
    assert header == "file,label,p_a,p_b,p_c,p_d,p_e,prediction"
    back = read_predictions(tmp_path / "test.csv", FIVE)
    assert back.files == part.files
    np.testing.assert_array_equal(back.probabilities, part.probabilities)
    with pytest.raises(UserError, match="p_cancer"):
        read_predictions(tmp_path / "test.csv", TWO_OF_FIVE)


def test_several_benign_classes_are_judged_as_one():
    part = random_predictions(300, 1.5, 3, TWO_OF_FIVE)
    ours, theirs = (summarize(p) for p in (part, collapsed(part)))
    # Ranked by the same probability, also in every resample.
    for name in ("roc_auc", "average_precision"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-12)
        assert ours["interval"][name] == pytest.approx(theirs["interval"][name], rel=1e-12)
    cancer, called = (np.isin(x, [0, 2, 4]) for x in (part.labels, part.predicted))
    assert ours["cancer_recall"] == pytest.approx(called[cancer].mean())
    assert ours["cancer_specificity"] == pytest.approx((~called)[~cancer].mean())
    # One benign class called the other is wrong, and no false alarm.
    mixed = ~cancer & ~called & (part.labels != part.predicted)
    assert mixed.any()
    np.testing.assert_allclose(part.p_cancer, part.probabilities[:, [0, 2, 4]].sum(axis=1))


def test_several_benign_classes_get_one_threshold():
    part = random_predictions(300, 1.5, 3, TWO_OF_FIVE)
    fitted, other = fit_calibration(part), fit_calibration(collapsed(part))
    assert fitted.threshold is not None
    judged = judge(part, fitted)
    # Another temperature, so another threshold; each finds what was asked for.
    assert judged["operating"]["threshold"]["sensitivity"] >= 0.995
    assert other.threshold is not None
    assert judged["operating"]["threshold"]["cancers"] == 180


def test_a_calibration_without_cancer_has_a_temperature_and_a_confidence_alone():
    part = plain()
    fitted = fit_calibration(part)
    assert (fitted.threshold, fitted.sensitivity) == (None, None)
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    flat = fitted.calibrated(part).probabilities
    np.testing.assert_array_equal(
        fitted.uncertain(flat, FIVE), flat.max(axis=1) < fitted.confidence
    )
    assert fitted.close(flat, FIVE, 0.5).shape == (100,)


@pytest.mark.parametrize("name", ["threshold", "sensitivity"])
def test_half_a_threshold_is_refused_by_name(name):
    values = fit_calibration(random_predictions(50)).to_dict() | {name: None}
    with pytest.raises(UserError, match=f"Expected {name} in .* but got None"):
        Calibration.from_dict(values)


def test_a_judgement_without_cancer_has_no_operating_point():
    part = plain()
    judged = judge(part, fit_calibration(part))
    assert set(judged) == {
        "n", "uncalibrated", "calibrated", "referral", "risk_coverage_area", "uncertain"
    }  # fmt: skip
    assert set(judged["referral"]["plain"][0]) == {"referred", "n", "accuracy"}
    assert set(judged["uncertain"]) == {"n", "wrong", "files"}
    assert "cancer" not in json.dumps(judged)


def test_plain_runs_are_compared_by_class_alone():
    first, second = plain(gain=2.0), plain(gain=4.0)
    compared = compare({"one": first, "two": second})
    (difference,) = compared["differences"]
    assert set(difference["difference"]) == {"accuracy", "nll", "ece"}
    assert set(difference["mcnemar"]) == {"accuracy"}
    header, rows = comparison_rows(compared)
    assert header == ["run", "accuracy", "NLL", "ECE", "McNemar p (class)"]
    assert len(rows[0]) == len(header)


def test_a_suite_without_cancer_counts_accuracy_alone():
    part = plain()
    figures = score(part.predicted, part.labels, FIVE)
    scored = [Scored("none", 0, 0.0, "run", *figures), Scored("blur", 1, 1.0, "run", *figures)]
    suite = Suite("t", 100, [1], {"blur": "blurred"}, scored)
    assert suite.figures == ["accuracy"]
    _, rows = summary_rows(suite)
    assert [row[1] for row in rows] == ["accuracy"]
    assert "cancer" not in json.dumps(suite.to_dict())
