"""Calibration: what is fitted on validation once a run is finished, and applied ever after."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import logit, softmax

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.metrics import point_scores
from leukemia.measure.operating import HALF, choose_threshold, review_confidence, uncertain, unsure
from leukemia.measure.predictions import Predictions, cancer_probability

Floats = NDArray[np.float64]

COLDEST, HOTTEST = 1.0, 10.0  # the bounds of a fitted temperature
SCORES = ("nll", "brier", "ece")
_FLOOR = float(np.finfo(np.float64).tiny)  # stands for a probability of 0 in the logarithm


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities flattened (T > 1) or sharpened (T < 1): p^(1/T), renormalised.

    The same as dividing the logits by T; the order of the classes stays. Source: Guo et al.,
    "On Calibration of Modern Neural Networks" (2017), arXiv:1706.04599.

    Args:
        probabilities: (N, C), in [0, 1], rows summing to 1.
        temperature: T, above 0.

    Returns:
        (N, C), rows summing to 1; at T = 1 the probabilities themselves, to the last bit.
    """
    if temperature == 1:
        return probabilities
    flat: Floats = softmax(_log(probabilities) / temperature, axis=1)
    return flat


def fit_temperature(predictions: Predictions) -> float:
    """The temperature with the lowest negative log-likelihood, between 1 and 10.

    Never below 1, because validation may flatten probabilities but not sharpen them: it lies
    nearer to the training images than new ones do, and where all of it is right, no sharpening
    would be enough. Of six runs on the paper's split three had their best below 1, and it made
    the test files' likelihood worse (0.062 became 0.175 at T = 0.25); three had it above 1, and
    it made that better. A network that is less sure than right stays so: the safe side.

    The likelihood is concave in 1 / T, so the one place where its slope is 0 is the best.

    Args:
        predictions: N files with labels and probabilities, never those of the test part.

    Returns:
        T; exactly 1 or 10 where the best lies at or beyond that bound.
    """
    logs = _log(predictions.probabilities)
    truth = logs[np.arange(len(logs)), predictions.labels]

    def slope(inverse: float) -> float:
        """Of the mean negative log-likelihood, by 1 / T; it never falls."""
        expected = (softmax(logs * inverse, axis=1) * logs).sum(axis=1)
        return float((expected - truth).mean())

    if slope(1 / COLDEST) <= 0:
        return COLDEST
    if slope(1 / HOTTEST) >= 0:
        return HOTTEST
    return float(1 / brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12))


@dataclass(frozen=True)
class Calibration:
    """What `predict` and `evaluate` need to know about a finished run's probabilities.

    All probabilities below are calibrated ones, that is, after the temperature.

    Args:
        temperature: T, in [1, 10] (`fit_temperature`).
        sensitivity: the wanted sensitivity, in (0, 1]; None where no class is benign.
        threshold: the least P(cancer) that is called cancer, in [0, 0.5] (`choose_threshold`);
            None where no class is benign.
        review: the share of the fitting part to be sent to a human, in [0, 1).
        confidence: the top probability below which an image is uncertain, in [0.5, 1]
            (`review_confidence`, and never below 0.5).
        part: what it was fitted on: "val", or "held_out": training and validation, each image
            judged by a head that saw none of its acquisition.
        n: of how many images.
        before: `nll`, `brier` and `ece` of the fitting part, uncalibrated.
        after: the same, calibrated.
    """

    temperature: float
    sensitivity: float | None
    threshold: float | None
    review: float
    confidence: float
    part: str
    n: int
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def fitted_on(self) -> str:
        """What it was fitted on, in words."""
        return "images held out" if self.part == "held_out" else self.part

    @property
    def at_bound(self) -> bool:
        """Whether the temperature is at a bound: 1 says "not changed", 10 "hardly informative"."""
        return self.temperature in (COLDEST, HOTTEST)

    def calibrated(self, predictions: Predictions) -> Predictions:
        """The same files with calibrated probabilities."""
        flat = apply_temperature(predictions.probabilities, self.temperature)
        return replace(predictions, probabilities=flat)

    def uncertain(self, probabilities: Floats, classes: Classes) -> NDArray[np.bool_]:
        """Which images a human should look at, (N,); see `operating.uncertain`.

        Args:
            probabilities: (N, C), calibrated.
            classes: names and order of the C classes.
        """
        if self.threshold is None:
            return unsure(probabilities, self.confidence)
        return uncertain(probabilities, classes, self.threshold, self.confidence)

    def doubts(self, probabilities: Floats, classes: Classes) -> list[list[str]]:
        """Say why a human should look at each image: nothing where it is certain.

        Args:
            probabilities: (N, C), calibrated.
            classes: names and order of the C classes.

        Returns:
            N lists of "low confidence" and "near the threshold".
        """
        low = unsure(probabilities, self.confidence)
        near = np.zeros(len(probabilities), np.bool_)
        if self.threshold is not None:
            near = uncertain(probabilities, classes, self.threshold, 0.0)
        return [
            ["low confidence"] * bool(weak) + ["near the threshold"] * bool(torn)
            for weak, torn in zip(low, near, strict=True)
        ]

    def close(self, probabilities: Floats, classes: Classes, slack: float) -> NDArray[np.bool_]:
        """Which images a small change of their probabilities could judge otherwise, (N,).

        Args:
            probabilities: (N, C), calibrated.
            classes: names and order of the C classes.
            slack: the change of the log-odds of the top probability, and of P(cancer).
        """
        top = probabilities.max(axis=1)
        moved = [np.abs(_logit(top) - _logit(self.confidence))]
        if self.threshold is not None:
            cancer = cancer_probability(probabilities, classes)
            moved += [np.abs(_logit(cancer) - _logit(limit)) for limit in (self.threshold, HALF)]
        return np.asarray(np.min(moved, axis=0) < slack)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the fields, and `at_bound` for who reads the file."""
        return {**asdict(self), "at_bound": self.at_bound}

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], source: str = "calibration.json"
    ) -> "Calibration":
        """The calibration that `to_dict` gave; keys that are no field are passed over.

        Args:
            values: plain values.
            source: what they were read from, for the message.

        Raises:
            UserError: a value is missing or is not what `Calibration` says; it is named.
        """
        # Both of them where a class is benign, and neither where none is.
        halves = ("sensitivity", "threshold")
        half = len({values.get(name) is None for name in halves}) > 1
        for name, (fits, expected) in _EXPECTED.items():
            found = values.get(name)
            if not fits(found) or (half and name in halves and found is None):
                raise UserError(
                    f"Expected {name} in {source} to be {expected}, but got "
                    f"{found!r}; bring the file back from a copy, or train the run anew."
                )
        return cls(**{name: values[name] for name in _EXPECTED})


def fit_calibration(
    predictions: Predictions, sensitivity: float = 0.995, review: float = 0.1, part: str = "val"
) -> Calibration:
    """Fit the temperature, then on calibrated probabilities the limits of the decisions.

    Args:
        predictions: the part to fit on; never the test part.
        sensitivity: the wanted share of cancers called cancer, in (0, 1]; where no class is
            benign it decides nothing.
        review: the share of these images to be sent to a human as least certain, in [0, 1).
        part: what `predictions` are called.

    Returns:
        The calibration, to be stored with the run.

    Raises:
        UserError: `sensitivity` or `review` outside its range, or no cancer among the images.
    """
    temperature = fit_temperature(predictions)
    flat = apply_temperature(predictions.probabilities, temperature)
    after = replace(predictions, probabilities=flat)
    has_cancer = predictions.classes.has_cancer
    return Calibration(
        temperature=temperature,
        sensitivity=float(sensitivity) if has_cancer else None,
        threshold=choose_threshold(after, sensitivity) if has_cancer else None,
        review=float(review),
        # Below a half the other classes together are more probable.
        confidence=max(review_confidence(flat, review), HALF),
        part=part,
        n=len(predictions.files),
        before=_scores(predictions),
        after=_scores(after),
    )


def _scores(predictions: Predictions) -> dict[str, float]:
    scores = point_scores(predictions)
    return {name: scores[name] or 0.0 for name in SCORES}  # never None: they need no class


def _log(probabilities: Floats) -> Floats:
    """Logarithms, 0 for the top class of each row."""
    logs = np.log(np.maximum(probabilities, _FLOOR))
    top: Floats = logs.max(axis=1, keepdims=True)
    return logs - top


def _number(low: float, high: float = math.inf) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:  # noqa: ANN401 - it came from a file
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and low <= value <= high

    return fits


def _has_scores(value: Any) -> bool:  # noqa: ANN401 - it came from a file
    return isinstance(value, Mapping) and all(_number(0)(value.get(name)) for name in SCORES)


_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": (_number(COLDEST, HOTTEST), f"a number from {COLDEST:g} to {HOTTEST:g}"),
    "sensitivity": (
        lambda x: x is None or (_number(0, 1)(x) and x > 0),
        "a number above 0, at most 1",
    ),
    "threshold": (lambda x: x is None or _number(0, HALF)(x), "a number from 0 to 0.5"),
    "review": (lambda x: _number(0, 1)(x) and x < 1, "a number from 0, below 1"),
    "confidence": (_number(0, 1), "a number from 0 to 1"),
    "part": (lambda x: isinstance(x, str) and x != "", "the name of a part"),
    "n": (lambda x: isinstance(x, int) and _number(1)(x), "a whole number of images"),
    "before": (_has_scores, f"an object of numbers {', '.join(SCORES)}"),
    "after": (_has_scores, f"an object of numbers {', '.join(SCORES)}"),
}


def _logit(p: Floats | float) -> Floats:
    return np.asarray(logit(np.clip(p, 1e-12, 1 - 1e-12)))
