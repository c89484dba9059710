import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from leukemia.errors import UserError
from leukemia.measure.calibration import (
    Calibration,
    apply_temperature,
    fit_calibration,
    fit_temperature,
)
from leukemia.measure.metrics import summarize
from leukemia.measure.operating import choose_threshold
from leukemia.measure.predictions import Predictions
from tests.report.samples import ABC, by_p_cancer, random_predictions, toy


def sharpened(power, n=2000, seed=0):
    """Predictions that are too sure: calibrated ones to the given power, renormalised."""
    rng = np.random.default_rng(seed)
    fair = rng.dirichlet([0.5, 0.5, 0.5], size=n)
    labels = np.array([rng.choice(3, p=row) for row in fair])
    probabilities = fair**power / (fair**power).sum(axis=1, keepdims=True)
    return Predictions(tuple(map(str, range(n))), labels, probabilities, ABC)


def test_a_temperature_of_2_takes_the_square_root():
    flat = apply_temperature(np.array([[0.64, 0.36, 0.0], [0.04, 0.16, 0.8]]), 2.0)
    assert flat[0] == pytest.approx([0.8 / 1.4, 0.6 / 1.4, 0])
    total = 0.2 + 0.4 + math.sqrt(0.8)
    assert flat[1] == pytest.approx([0.2 / total, 0.4 / total, math.sqrt(0.8) / total])


def test_a_temperature_equals_dividing_the_logits():
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 30
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    cooled = np.exp((logits - logits.max(axis=1, keepdims=True)) / 3)
    expected = cooled / cooled.sum(axis=1, keepdims=True)
    found = apply_temperature(softmax / softmax.sum(axis=1, keepdims=True), 3.0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_temperature_of_1_changes_nothing_and_certainty_stays_finite():
    certain = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    assert apply_temperature(certain, 1.0).tolist() == certain.tolist()
    flat = apply_temperature(certain, 10.0)
    assert np.isfinite(flat).all()
    np.testing.assert_allclose(flat, certain, atol=1e-30)


def test_no_temperature_changes_the_most_probable_class():
    p = random_predictions(200, 1.0)
    for temperature in (1.5, 10.0):
        flat = apply_temperature(p.probabilities, temperature)
        assert (flat.argmax(axis=1) == p.predicted).all()
        assert (flat.max(axis=1) < p.probabilities.max(axis=1)).all()


@pytest.mark.parametrize("power", [1.3, 2.0, 5.0])
def test_the_fit_agrees_with_scipys_search_of_sklearns_likelihood(power):
    p = sharpened(power)

    def nll(temperature):
        return log_loss(p.labels, apply_temperature(p.probabilities, temperature))

    best = minimize_scalar(nll, bounds=(1, 10), method="bounded", options={"xatol": 1e-9}).x
    assert fit_temperature(p) == pytest.approx(best, rel=1e-4)
    assert fit_temperature(p) == pytest.approx(power, rel=0.1)  # what was done is undone


def test_a_part_that_is_all_right_is_not_sharpened():
    p = by_p_cancer(cancer=[0.75, 0.875], benign=[0.125, 0.25])
    assert fit_temperature(p) == 1.0
    assert fit_calibration(p).at_bound
    # Nor is one that is less sure than right, though that would fit better.
    assert fit_temperature(sharpened(0.5)) == 1.0


def test_a_part_that_is_surely_wrong_is_flattened_to_the_bound():
    p = by_p_cancer(cancer=[0.001, 0.002], benign=[0.999])
    assert fit_temperature(p) == 10.0
    assert fit_calibration(p).at_bound


def test_the_bounds_do_not_hide_a_fit_between_them():
    assert not fit_calibration(sharpened(2.0)).at_bound


@pytest.mark.parametrize("row", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
def test_a_single_image_of_any_certainty_has_a_temperature(row):
    one = Predictions(("x",), np.array([1]), np.array([row]), ABC)
    assert 1 <= fit_temperature(one) <= 10


def test_a_calibration_holds_what_was_fitted_and_what_it_changed():
    p = sharpened(2.0)
    fitted = fit_calibration(p, sensitivity=0.9, review=0.25, part="validation")
    after = replace(p, probabilities=apply_temperature(p.probabilities, fitted.temperature))
    assert (fitted.part, fitted.n, fitted.sensitivity, fitted.review) == (
        "validation", 2000, 0.9, 0.25,
    )  # fmt: skip
    for scores, part in ((fitted.before, p), (fitted.after, after)):
        expected = summarize(part)
        assert dict(scores) == {name: expected[name] for name in ("nll", "brier", "ece")}
    for name in ("nll", "brier", "ece"):
        assert fitted.after[name] < fitted.before[name]
    # The limits are on calibrated probabilities.
    assert fitted.calibrated(p).probabilities.tolist() == after.probabilities.tolist()
    assert choose_threshold(p, 0.9) != fitted.threshold == choose_threshold(after, 0.9)
    assert (after.probabilities.max(axis=1) < fitted.confidence).mean() == 0.25


def test_its_calibration_error_agrees_with_torchmetrics():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    p = sharpened(3.0)
    fitted = fit_calibration(p)
    for scores, part in ((fitted.before, p), (fitted.after, fitted.calibrated(p))):
        expected = functional.multiclass_calibration_error(
            torch.tensor(part.probabilities), torch.tensor(p.labels), num_classes=3, n_bins=15
        )
        assert scores["ece"] == pytest.approx(float(expected), abs=1e-6)


def test_a_calibration_survives_json():
    fitted = fit_calibration(sharpened(2.0))
    text = json.dumps(fitted.to_dict(), allow_nan=False)
    assert Calibration.from_dict(json.loads(text)) == fitted
    assert json.loads(text)["at_bound"] is False


def test_a_whole_number_is_a_number():
    values = fit_calibration(toy()).to_dict()
    again = Calibration.from_dict(values | {"temperature": 1, "sensitivity": 1, "review": 0})
    assert (again.temperature, again.at_bound) == (1, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.5),
        ("temperature", "hot"),
        ("temperature", math.nan),
        ("temperature", True),
        ("sensitivity", 0),
        ("sensitivity", 1.01),
        ("threshold", 0.51),
        ("threshold", None),
        ("review", 1),
        ("confidence", -0.1),
        ("part", ""),
        ("n", 0),
        ("n", 2.5),
        ("before", {"nll": 0.1, "brier": 0.1}),
        ("after", [0.1, 0.1, 0.1]),
    ],
)
def test_a_value_that_no_fit_gives_is_refused_by_name(name, value):
    values = fit_calibration(toy()).to_dict() | {name: value}
    with pytest.raises(UserError) as refused:
        Calibration.from_dict(values, "runs/a/calibration.json")
    message = str(refused.value)
    assert message.startswith(f"Expected {name} in runs/a/calibration.json to be ")
    assert repr(value) in message
    assert "from a copy, or train the run anew" in message
    assert "\n" not in message


def test_a_missing_value_is_refused_by_name():
    values = fit_calibration(toy()).to_dict()
    del values["threshold"]
    with pytest.raises(UserError, match=r"Expected threshold in calibration.json"):
        Calibration.from_dict(values)
    with pytest.raises(UserError, match=r"Expected temperature in calibration.json"):
        Calibration.from_dict({})


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(UserError, match="at least one cancer image"):
        fit_calibration(by_p_cancer([], [0.25]))
    with pytest.raises(UserError, match="sensitivity"):
        fit_calibration(toy(), sensitivity=0)
    with pytest.raises(UserError, match="review"):
        fit_calibration(toy(), review=1)


def test_uncertain_is_by_the_fitted_limits():
    fitted = replace(fit_calibration(toy()), threshold=0.25, confidence=0.6)
    rows = np.array([[0.9, 0.1, 0.0], [0.7, 0.3, 0.0], [0.0, 0.55, 0.45]])
    assert fitted.uncertain(rows, ABC).tolist() == [False, True, True]
