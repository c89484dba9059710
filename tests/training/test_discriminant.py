"""The head in closed form, against scikit-learn and against Gaussians that are known."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from leukemia.errors import UserError
from leukemia.models.classifier import Classifier
from leukemia.models.discriminant import WhitenedHead, fit_discriminant, shift_temperature
from leukemia.models.head import LinearHead
from leukemia.models.loss import DualLoss
from leukemia.training.embedded import start


def drawn(n_classes: int, per_class: int, dim: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(n_classes, dim))
    labels = np.repeat(np.arange(n_classes), per_class)
    scales = np.exp(rng.normal(size=dim))  # features of unlike size
    values = (centres[labels] + rng.normal(size=(len(labels), dim))) * scales + 5
    return values.astype(np.float32), labels


def fitted(values, labels, n_classes, weights=None):
    head = LinearHead(values.shape[1], n_classes)
    return head.eval(), fit_discriminant(head, values, labels, weights)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("per_class", [3, 6, 80])  # fewer images than features, and more
def test_probabilities_are_those_of_scikit_learn(n_classes: int, per_class: int):
    values, labels = drawn(n_classes, per_class, dim=40)
    scaled = StandardScaler().fit_transform(values.astype(np.float64))
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(scaled, labels)
    head, temperature = fitted(values, labels, n_classes)
    assert (temperature == 1) == (per_class == 3)
    expected = softmax(peer.predict_log_proba(scaled) / temperature, axis=1)
    with torch.no_grad():
        found = head(torch.from_numpy(values)).softmax(1)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def started(values, labels, n_classes, cancer_weight=1.0) -> LinearHead:
    head = WhitenedHead(values.shape[1], n_classes)
    loss = DualLoss(1, 1, cancer_weight=cancer_weight, n_classes=n_classes)
    start(Classifier(head, loss, n_classes=n_classes), (values, labels, None))
    return head.eval()


@pytest.mark.parametrize("cancer_weight", [1.0, 3.0])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("per_class", [3, 6, 80])
def test_gradients_begin_at_the_discriminant(n_classes: int, per_class: int, cancer_weight: float):
    values, labels = drawn(n_classes, per_class, dim=40)
    weights = torch.tensor([1.0] + [cancer_weight] * (n_classes - 1))
    closed, _ = fitted(values, labels, n_classes, weights)
    head = started(values, labels, n_classes, cancer_weight)
    with torch.no_grad():
        found, expected = (net(torch.from_numpy(values)).softmax(1) for net in (head, closed))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("per_class", [10, 400])  # fewer images than features, and more
def test_no_direction_is_steeper_than_another(per_class: int):
    values, labels = drawn(3, per_class, dim=60)
    values[:, 7] = 4  # a feature that says nothing
    whitening = started(values, labels, 3).standardize
    scaler = StandardScaler()
    scaled = scaler.fit_transform(values.astype(np.float64))
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(scaled, labels)
    shared = peer.covariance_ * np.outer(scaler.scale_, scaler.scale_)
    matrix = whitening.matrix.numpy().astype(np.float64)
    even = 60 * matrix.T @ shared @ matrix
    np.testing.assert_allclose(even, np.eye(60), atol=1e-3)
    with torch.no_grad():
        centre = whitening(torch.from_numpy(values)).mean(0)
    torch.testing.assert_close(centre, torch.zeros(60), rtol=0, atol=1e-3)


def test_embeddings_that_are_too_long_for_a_covariance_are_refused():
    values, labels = drawn(2, 3, dim=5000)
    for fit in (fitted, started):
        with pytest.raises(UserError, match=r"up to 4096.*5000.*head=probe"):
            fit(values, labels, 2)


def test_with_many_images_it_is_the_rule_of_the_gaussians_they_come_from():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 40_000)
    values = rng.normal(size=(len(labels), 1)) + np.where(labels, 1.0, -1.0)[:, None]
    head, temperature = fitted(values.astype(np.float32), labels, 2)
    points = torch.tensor([[-1.0], [0.0], [0.5], [2.0]])
    with torch.no_grad():
        logits = head(points)
    # log N(x; 1, 1) - log N(x; -1, 1) = 2 x
    log_odds = temperature * (logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(log_odds, 2 * points[:, 0], rtol=0.05, atol=0.05)


def test_a_class_that_weighs_twice_has_twice_the_odds():
    values, labels = drawn(3, 50, dim=5)
    plain, _ = fitted(values, labels, 3)
    weighted, _ = fitted(values, labels, 3, torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64))
    with torch.no_grad():
        rise = weighted(torch.from_numpy(values)) - plain(torch.from_numpy(values))
    expected = torch.log(torch.tensor([1.0, 2.0, 2.0])).expand_as(rise)
    torch.testing.assert_close(rise, expected, rtol=0, atol=1e-3)


def test_a_class_with_one_image_is_refused():
    values, labels = drawn(3, 4, dim=5)
    with pytest.raises(UserError, match=r"two training images of each class.*\[4, 4, 1\]"):
        fitted(values[:9], labels[:9], 3)


def shifted(seed: int, acquisitions: int, per_class: int = 20, dim: int = 30):
    """Three classes in acquisitions, each of which moves each class somewhere else."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(3, dim))
    labels = np.tile(np.repeat(np.arange(3), per_class), acquisitions)
    moves = np.repeat(2 * rng.normal(size=(3 * acquisitions, dim)), per_class, axis=0)
    return centres[labels] + moves + 0.2 * rng.normal(size=(len(labels), dim)), labels


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_makes_new_acquisitions_likelier(seed: int):
    rows, labels = shifted(seed, acquisitions=16)
    new, truth = shifted(100 + seed, acquisitions=40)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(rows, labels)
    logits = peer.decision_function(new)

    def nll(temperature: float) -> float:
        return float(-log_softmax(logits / temperature, axis=1)[range(len(new)), truth].mean())

    best = min(nll(value) for value in np.geomspace(1, 1000, 400))
    found = nll(shift_temperature(rows, labels))
    assert found < 0.6 * nll(1)
    assert found < 1.4 * best


@pytest.mark.parametrize("seed", range(3))
def test_views_of_an_image_do_not_vouch_for_it(seed: int):
    rows, labels = shifted(seed, acquisitions=16)
    rng = np.random.default_rng(2)
    # Views far from the images, so that clusters would part the two.
    views = np.c_[rows + 0.1 * rng.normal(size=rows.shape), np.full(len(rows), 30.0)]
    both = np.concatenate([np.c_[rows, np.zeros(len(rows))], views])
    twice, images = np.tile(labels, 2), np.tile(np.arange(len(rows)), 2)
    assert shift_temperature(both, twice) < 0.3 * shift_temperature(rows, labels)
    assert shift_temperature(both, twice, images) >= shift_temperature(rows, labels)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_images_that_do_not_differ_have_no_temperature():
    labels = np.repeat([0, 1], 8)
    rows = np.where(labels, 1.0, np.linspace(0, 1, 16))[:, None] * np.ones(3)
    assert shift_temperature(rows, labels) == 1
