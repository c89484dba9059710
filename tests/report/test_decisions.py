import numpy as np
import pytest

from leukemia.measure.calibration import fit_calibration
from leukemia.measure.comparison import compare
from leukemia.measure.metrics import calibration_bins
from leukemia.measure.referral import net_benefit, referral
from leukemia.report.probabilities import (
    decision_curve,
    forest,
    reliability_before_after,
    risk_coverage_curves,
)
from tests.report.samples import by_p_cancer, random_predictions, toy
from tests.report.test_figures import pixels, texts


def compared(n=200):
    runs = {name: random_predictions(n, gain) for name, gain in (("a", 2), ("b", 1), ("c", 3))}
    return compare(runs)


def figures():
    part = random_predictions(200)
    parts = {"val": part, "test": part}
    return {
        "decision": decision_curve(parts, 0.2),
        "risk": risk_coverage_curves(parts, 0.2),
        "reliability": reliability_before_after("test", part, fit_calibration(part)),
        "forest": forest(compared()),
        "one of each": decision_curve({"test": toy()}),
    }


@pytest.mark.parametrize("name", ["decision", "risk", "reliability", "forest", "one of each"])
def test_a_figure_is_drawn_whole(name):
    figure = figures()[name]
    image = pixels(figure)
    assert 0.003 < (image < 128).any(axis=2).mean() < 0.5
    frame = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (frame == 255).all()


def test_the_decision_curve_holds_net_benefit_beside_all_and_none():
    p = random_predictions(100, 1.0)
    axes = decision_curve({"val": p, "test": p}, 0.25).axes[1]
    model, everyone, none, chosen = axes.lines
    curve = net_benefit(p)
    assert model.get_xdata().tolist() == curve.threshold.tolist()
    assert model.get_ydata().tolist() == curve.model.tolist()
    assert everyone.get_ydata().tolist() == curve.treat_all.tolist()
    assert list(none.get_ydata()) == [0, 0]
    assert list(chosen.get_xdata()) == [0.25, 0.25]
    assert texts(axes) == [" threshold 0.25"]
    assert axes.get_title(loc="left") == "test (75% cancer)"


def test_the_risk_coverage_curves_pass_through_the_rows_of_the_table():
    p = random_predictions(200, 1.0)
    accuracy, sensitivity = risk_coverage_curves({"test": p}, 0.3).axes
    for axes, name in ((accuracy, "accuracy"), (sensitivity, "sensitivity")):
        (line,) = axes.lines
        marked = line.get_xydata()[line.get_markevery()]
        assert marked[:, 0] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
        assert marked[:, 1].tolist() == [row[name] for row in referral(p, 0.3)]
        assert line.get_xdata()[-1] == pytest.approx(0.3)


def test_parts_without_cancer_or_of_one_image_are_drawn_as_far_as_they_go():
    parts = {"none": by_p_cancer([], [0.25, 0.5]), "one": by_p_cancer([0.75], [])}
    for figure in (decision_curve(parts, 0.0), risk_coverage_curves(parts)):
        pixels(figure)


def test_reliability_shows_both_sides_of_the_temperature_with_their_error():
    p = by_p_cancer([0.9, 0.9, 0.1], [0.1, 0.1, 0.9])
    fitted = fit_calibration(p)
    before, after, *_ = reliability_before_after("test", p, fitted).axes
    # Two thirds are right at a confidence of 0.9, and of two thirds afterwards.
    assert before.get_title(loc="left") == "test, uncalibrated (ECE 0.233)"
    assert after.get_title(loc="left") == "test, calibrated (ECE 0.000)"
    for axes, part in ((before, p), (after, fitted.calibrated(p))):
        counts, confidence, _ = calibration_bins(part)
        assert axes.lines[1].get_xdata().tolist() == confidence[counts > 0].tolist()


def test_the_forest_holds_each_difference_with_its_interval():
    found = compared()
    figure = forest(found)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "accuracy", "cancer sensitivity", "cancer specificity", "NLL", "ECE",
    ]  # fmt: skip
    assert [axes.get_xlabel() for axes in figure.axes] == ["better: right"] * 3 + [
        "better: left"
    ] * 2
    nll = figure.axes[3]
    for place, one in enumerate(found["differences"]):
        point = nll.lines[1 + place]
        assert point.get_xydata().tolist() == [[one["difference"]["nll"], place]]
        segment = nll.collections[place].get_segments()[0]
        assert segment.tolist() == [[bound, place] for bound in one["interval"]["nll"]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "c"]
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first run stands on top
    assert figure.get_suptitle() == "Difference from a"


def test_what_is_undefined_is_said_in_the_forest():
    p = by_p_cancer([0.25, 0.75], [])
    assert texts(forest(compare({"a": p, "b": p})).axes[2]) == ["n/a"]
