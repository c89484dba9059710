import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from leukemia.errors import UserError
from leukemia.models.loss import DualLoss


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    return logits, torch.arange(50) % 4


def test_terms_of_equal_logits_are_log_4_and_the_entropy_of_a_quarter():
    terms = DualLoss()(torch.zeros(2, 4), torch.tensor([0, 2]))
    assert terms.nll.item() == pytest.approx(math.log(4))
    # P(benign) = 1/4 for the benign image, P(cancer) = 3/4 for the other.
    assert terms.bce.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    assert terms.loss.item() == pytest.approx(terms.nll.item() + terms.bce.item())


def test_equals_the_literal_formula_of_the_paper(batch):
    logits, labels = batch
    p = logits.softmax(1)
    pair = torch.stack([p[:, 0], p[:, 1] + p[:, 2] + p[:, 3]], dim=1)
    one_hot = torch.stack([labels == 0, labels != 0], dim=1).double()
    nll = -p[torch.arange(50), labels].log().mean()
    bce = nn.BCELoss()(pair, one_hot)
    terms = DualLoss(0.7, 1.9)(logits, labels)
    torch.testing.assert_close(terms.nll, nll, rtol=1e-12, atol=0)
    torch.testing.assert_close(terms.bce, bce, rtol=1e-12, atol=0)
    torch.testing.assert_close(terms.loss, 0.7 * nll + 1.9 * bce, rtol=1e-12, atol=0)


@pytest.mark.parametrize("benign", [0, 2, 3])
def test_equals_scikit_learns_log_loss_wherever_benign_stands(batch, benign):
    logits, labels = batch
    p = logits.softmax(1).numpy()
    terms = DualLoss(benign=benign)(logits, labels)
    is_cancer = labels.numpy() != benign
    assert terms.nll.item() == pytest.approx(log_loss(labels.numpy(), p), rel=1e-12)
    assert terms.bce.item() == pytest.approx(log_loss(is_cancer, 1 - p[:, benign]), rel=1e-9)


def test_two_classes_make_both_terms_the_same(batch):
    logits, labels = batch
    terms = DualLoss(n_classes=2)(logits[:, :2], labels % 2)
    torch.testing.assert_close(terms.nll, terms.bce, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("big", [1e4, -1e4])
@pytest.mark.parametrize("place", [0, 1, slice(None)])
def test_loss_and_gradients_are_finite_at_ten_thousand(dtype, label, big, place):
    logits = torch.zeros(1, 4, dtype=dtype)
    logits[:, place] = big
    logits.requires_grad_()
    terms = DualLoss()(logits, torch.tensor([label]))
    terms.loss.backward()
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms)
    assert logits.grad.isfinite().all()


def test_a_confident_mistake_costs_its_margin_and_still_pulls():
    logits = torch.tensor([[1e4, 0.0, 0.0, 0.0]], requires_grad=True)
    terms = DualLoss()(logits, torch.tensor([1]))
    terms.loss.backward()
    assert terms.nll.item() == pytest.approx(10_000)
    assert terms.bce.item() == pytest.approx(10_000 - math.log(3), rel=1e-6)
    # Of the NLL (1, -1, 0, 0), of the BCE (1, -1/3, -1/3, -1/3).
    expected = torch.tensor([[2.0, -4 / 3, -1 / 3, -1 / 3]])
    torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences(batch):
    logits, labels = batch
    loss = DualLoss(0.5, 2.0, class_weights=[1.0, 2.0, 3.0, 4.0])
    assert torch.autograd.gradcheck(lambda x: loss(x, labels).loss, logits.requires_grad_())


def test_class_weights_weigh_both_terms_by_the_label(batch):
    logits, labels = batch
    weights = [1.0, 2.0, 0.5, 4.0]
    terms = DualLoss(class_weights=weights)(logits, labels)
    each = torch.tensor(weights, dtype=torch.float64)[labels]
    p = logits.double().softmax(1)
    nll = -p[torch.arange(len(p)), labels].log()
    bce = -torch.where(labels == 0, p[:, 0], 1 - p[:, 0]).log()
    assert terms.nll.item() == pytest.approx(((each * nll).sum() / each.sum()).item(), rel=1e-5)
    assert terms.bce.item() == pytest.approx(((each * bce).sum() / each.sum()).item(), rel=1e-5)


@pytest.mark.parametrize("benign", [0, 2])
def test_a_cancer_weight_is_a_weight_of_every_class_but_the_benign(batch, benign):
    logits, labels = batch
    weights = [3.0] * 4
    weights[benign] = 1.0
    ours = DualLoss(benign=benign, cancer_weight=3.0)(logits, labels)
    theirs = DualLoss(benign=benign, class_weights=weights)(logits, labels)
    for one, other in zip(ours, theirs, strict=True):
        assert one.item() == pytest.approx(other.item(), rel=1e-6)


def test_label_smoothing_is_torchs_in_the_nll_alone(batch):
    logits, labels = batch
    terms = DualLoss(label_smoothing=0.1)(logits, labels)
    log_p = logits.log_softmax(1)
    own = log_p[torch.arange(50), labels]
    torch.testing.assert_close(terms.nll, -(0.9 * own + 0.1 * log_p.mean(1)).mean())
    assert terms.bce.item() == DualLoss()(logits, labels).bce.item()


@pytest.mark.parametrize("weights", [None, [1, 2, 3, 4]])
def test_batches_weighted_by_their_mass_give_the_whole(batch, weights):
    logits, labels = batch
    loss = DualLoss(class_weights=weights, label_smoothing=0.1)
    order = labels.argsort()  # batches of single classes, as validation has them
    parts = [order[:7], order[7:30], order[30:]]
    masses = [float(loss.mass(labels[part])) for part in parts]
    assert sum(masses) == pytest.approx(float(loss.mass(labels)))
    for name, value in loss(logits, labels)._asdict().items():
        means = [getattr(loss(logits[part], labels[part]), name).item() for part in parts]
        assert np.average(means, weights=masses) == pytest.approx(value.item(), rel=1e-5)


def test_a_checkpoint_holds_no_setting_of_the_loss():
    assert DualLoss(class_weights=[1, 2, 3, 4]).state_dict() == {}


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("lambda_nll", {"lambda_nll": -1}),
        ("lambda_nll", {"lambda_nll": float("nan")}),
        ("lambda_nll", {"lambda_nll": "much"}),
        ("lambda_nll", {"lambda_nll": True}),
        ("lambda_bce", {"lambda_bce": float("inf")}),
        ("lambda_bce", {"lambda_bce": None}),
        ("lambda_bce", {"lambda_nll": 0, "lambda_bce": 0}),
        ("class_weights", {"class_weights": [1, 2, 3]}),
        ("class_weights", {"class_weights": [1, 2, 3, 0]}),
        ("class_weights", {"class_weights": [1, 2, 3, "x"]}),
        ("class_weights", {"class_weights": "1234"}),
        ("class_weights", {"class_weights": 2.0}),
        ("cancer_weight", {"cancer_weight": 0}),
        ("cancer_weight", {"cancer_weight": "much"}),
        ("label_smoothing", {"label_smoothing": 1.0}),
    ],
)
def test_a_bad_setting_is_one_line_with_its_key(key, settings):
    with pytest.raises(UserError, match=rf"loss\.{key}") as caught:
        DualLoss(**settings)
    assert "\n" not in str(caught.value)


@pytest.fixture
def six():
    torch.manual_seed(1)
    return torch.randn(40, 6, dtype=torch.float64) * 3, torch.randint(6, (40,))


def test_several_benign_classes_are_one_side_of_the_bce(six):
    logits, labels = six
    p = logits.softmax(1)
    terms = DualLoss(0.7, 1.9, benign=(1, 4), n_classes=6)(logits, labels)
    cancer = (labels != 1) & (labels != 4)
    expected = log_loss(cancer.numpy(), p[:, [0, 2, 3, 5]].sum(1).numpy())
    assert terms.bce.item() == pytest.approx(expected, rel=1e-9)
    assert terms.loss.item() == pytest.approx(0.7 * terms.nll.item() + 1.9 * expected, rel=1e-9)
    loss = DualLoss(benign=[4, 1], n_classes=6)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels).loss, logits.requires_grad_())


def test_several_benign_classes_stay_finite_at_ten_thousand():
    logits = torch.tensor([[1e4, -1e4, 0.0, 1e4]], requires_grad=True)
    terms = DualLoss(benign=(0, 1))(logits, torch.tensor([1]))
    terms.loss.backward()
    assert terms.loss.isfinite()
    assert logits.grad.isfinite().all()


def test_one_benign_class_in_a_list_is_that_class(six):
    logits, labels = six
    one, other = (DualLoss(benign=b, n_classes=6)(logits, labels) for b in (2, (2,)))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_without_a_benign_class_there_is_the_nll_alone(six):
    logits, labels = six
    loss = DualLoss(0.5, 1.0, benign=None, cancer_weight=3.0, n_classes=6)
    terms = loss(logits, labels)
    assert terms.bce is None
    assert set(terms.named()) == {"loss", "nll"}
    assert loss.class_weights is None
    torch.testing.assert_close(terms.loss, 0.5 * torch.nn.functional.cross_entropy(logits, labels))


def test_a_cancer_weight_falls_on_every_class_that_is_not_benign(six):
    logits, labels = six
    ours = DualLoss(benign=(1, 4), cancer_weight=3.0, n_classes=6)(logits, labels)
    weights = [3.0, 1.0, 3.0, 3.0, 1.0, 3.0]
    theirs = DualLoss(benign=(1, 4), class_weights=weights, n_classes=6)(logits, labels)
    for one, other in zip(ours, theirs, strict=True):
        assert one.item() == pytest.approx(other.item(), rel=1e-6)


def test_benign_classes_that_cannot_be_are_refused():
    for benign in ((0, 1, 2, 3), 4, (0, -1)):
        with pytest.raises(ValueError, match="benign to be some of 4 labels"):
            DualLoss(benign=benign)
    with pytest.raises(UserError, match="lambda_nll to be above 0 where no class is benign"):
        DualLoss(0.0, 1.0, benign=None)
