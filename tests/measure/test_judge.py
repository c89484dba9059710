import json
from dataclasses import replace

import numpy as np
import pytest

from leukemia.measure.calibration import fit_calibration
from leukemia.measure.metrics import summarize
from leukemia.measure.operating import at_threshold
from leukemia.measure.predictions import Predictions
from leukemia.measure.referral import judge, referral, risk_coverage
from tests.report.samples import ABC, by_p_cancer, random_predictions, toy


@pytest.fixture(scope="module")
def fitted():
    calibration = fit_calibration(random_predictions(300, 1.0, seed=1))
    assert calibration.temperature > 1.05
    assert calibration.threshold < 0.45
    return calibration


def test_the_keys_are_those_of_the_contract(fitted):
    found = judge(random_predictions(100), fitted)
    assert list(found) == [
        "n", "uncalibrated", "calibrated", "operating", "sensitivity_at_specificity",
        "net_benefit", "referral", "risk_coverage_area", "uncertain",
    ]  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_each_figure_is_that_of_its_module_on_calibrated_probabilities(fitted):
    p = random_predictions(200, 1.0, seed=2)
    groups = np.arange(200) // 2
    found = judge(p, fitted, groups)
    after = fitted.calibrated(p)
    for when, part in (("uncalibrated", p), ("calibrated", after)):
        whole = summarize(part, groups)
        for name in ("nll", "brier", "ece"):
            assert found[when][name] == whole[name]
            assert found[when]["interval"][name] == whole["interval"][name]
    assert found["uncalibrated"]["nll"] != found["calibrated"]["nll"]
    for name, limit in (("threshold", fitted.threshold), ("half", 0.5)):
        expected = at_threshold(after, limit, groups)
        assert found["operating"][name] == expected
        assert found["referral"][name] == referral(after, limit)
    assert found["operating"]["threshold"] != found["operating"]["half"]
    assert found["risk_coverage_area"] == risk_coverage(after).area
    assert len(found["net_benefit"]["threshold"]) == len(found["net_benefit"]["model"]) == 99
    assert [row["specificity"] for row in found["sensitivity_at_specificity"]] == [0.9, 0.95, 0.99]


def test_the_uncertain_images_are_named_and_what_is_left_is_counted():
    calibration = replace(fit_calibration(toy()), temperature=1.0, threshold=0.25, confidence=0.7)
    rows = np.array(
        [
            [0.9, 0.1, 0.0],  # right
            [0.9, 0.1, 0.0],  # a cancer missed for sure
            [0.6, 0.4, 0.0],  # uncertain, and missed only at 0.5
            [0.0, 0.1, 0.9],  # wrong for sure, though called cancer
        ]
    )
    p = Predictions(("w", "x", "y", "z"), np.array([0, 1, 1, 1]), rows, ABC)
    assert judge(p, calibration)["uncertain"] == {
        "n": 1, "wrong": 2, "missed": 1, "files": ["y"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "part", [by_p_cancer([0.25, 0.75], []), by_p_cancer([], [0.25]), by_p_cancer([0.4], [])]
)
def test_a_part_with_one_class_or_one_image_is_judged_as_far_as_it_goes(part):
    calibration = fit_calibration(by_p_cancer([0.75, 0.25], [0.5]))
    found = judge(part, calibration)
    json.dumps(found, allow_nan=False)
    assert found["sensitivity_at_specificity"][0]["sensitivity"] is None
    assert found["operating"]["half"]["threshold"] == 0.5


def test_groups_of_the_wrong_length_are_refused(fitted):
    with pytest.raises(ValueError, match="Expected 100 groups"):
        judge(random_predictions(100), fitted, np.zeros(5, dtype=np.int64))
