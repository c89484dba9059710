import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from leukemia.measure.referral import net_benefit
from tests.report.samples import by_p_cancer, random_predictions


def test_net_benefit_of_a_literal():
    # At 0.2: 3 of 3 cancers and 2 of 7 benign images called; at 0.5: 2 and 1; at 0.75: 1 and 0.
    p = by_p_cancer([0.3, 0.6, 0.8], [0.0, 0.0, 0.1, 0.1, 0.1, 0.4, 0.7])
    curve = net_benefit(p, np.array([0.2, 0.5, 0.75]))
    assert curve.model == pytest.approx([0.3 - 0.2 / 4, 0.2 - 0.1, 0.1])
    assert curve.treat_all == pytest.approx([0.3 - 0.7 / 4, 0.3 - 0.7, 0.3 - 0.7 * 3])
    assert curve.threshold.tolist() == [0.2, 0.5, 0.75]


def test_a_threshold_itself_is_called():
    assert net_benefit(by_p_cancer([0.5], [0.25]), np.array([0.5])).model.tolist() == [0.5]


def test_net_benefit_agrees_with_sklearns_counts():
    p = random_predictions(300, 1.0)
    curve = net_benefit(p)
    assert len(curve.threshold) == 99
    for t, value in zip(curve.threshold, curve.model, strict=True):
        _, fp, _, tp = confusion_matrix(p.cancer, p.p_cancer >= t).ravel()
        assert value == pytest.approx(tp / 300 - fp / 300 * t / (1 - t))


def test_a_perfect_model_is_worth_the_share_of_cancers_everywhere():
    assert set(net_benefit(by_p_cancer([1.0], [0.0, 0.0, 0.0])).model) == {0.25}


def test_one_class_alone_has_its_limits():
    assert set(net_benefit(by_p_cancer([1.0], [])).treat_all) == {1.0}
    benign = net_benefit(by_p_cancer([], [0.0]))
    assert set(benign.model) == {0.0}
    assert (benign.treat_all < 0).all()


@pytest.mark.parametrize("threshold", [0.0, 1.0, np.nan])
def test_thresholds_at_which_no_odds_exist_are_refused(threshold):
    with pytest.raises(ValueError, match=r"in \(0, 1\), but got"):
        net_benefit(by_p_cancer([0.5], [0.5]), np.array([0.5, threshold]))
