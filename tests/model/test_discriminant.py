"""The head in closed form, against scikit-learn and against Gaussians that are known."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from leukemia.errors import UserError
from leukemia.model.discriminant import fit_discriminant
from leukemia.model.head import LinearHead


def drawn(n_classes: int, per_class: int, dim: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(n_classes, dim))
    labels = np.repeat(np.arange(n_classes), per_class)
    scales = np.exp(rng.normal(size=dim))  # features of unlike size
    values = (centres[labels] + rng.normal(size=(len(labels), dim))) * scales + 5
    return values.astype(np.float32), labels


def fitted(values, labels, n_classes, weights=None):
    head = LinearHead(values.shape[1], n_classes)
    fit_discriminant(head, values, labels, weights)
    return head.eval()


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("per_class", [6, 80])  # fewer images than features, and more
def test_probabilities_are_those_of_scikit_learn(n_classes: int, per_class: int):
    values, labels = drawn(n_classes, per_class, dim=40)
    scaled = StandardScaler().fit_transform(values.astype(np.float64))
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(scaled, labels)
    with torch.no_grad():
        found = fitted(values, labels, n_classes)(torch.from_numpy(values)).softmax(1)
    np.testing.assert_allclose(found, peer.predict_proba(scaled), atol=2e-4)


def test_with_many_images_it_is_the_rule_of_the_gaussians_they_come_from():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 40_000)
    values = rng.normal(size=(len(labels), 1)) + np.where(labels, 1.0, -1.0)[:, None]
    head = fitted(values.astype(np.float32), labels, 2)
    points = torch.tensor([[-1.0], [0.0], [0.5], [2.0]])
    with torch.no_grad():
        logits = head(points)
    # log N(x; 1, 1) - log N(x; -1, 1) = 2 x
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], 2 * points[:, 0], rtol=0.05, atol=0.05)


def test_a_class_that_weighs_twice_has_twice_the_odds():
    values, labels = drawn(3, 50, dim=5)
    plain = fitted(values, labels, 3)
    weighted = fitted(values, labels, 3, torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64))
    with torch.no_grad():
        rise = weighted(torch.from_numpy(values)) - plain(torch.from_numpy(values))
    expected = torch.log(torch.tensor([1.0, 2.0, 2.0])).expand_as(rise)
    torch.testing.assert_close(rise, expected, rtol=0, atol=1e-3)


def test_a_class_with_one_image_is_refused():
    values, labels = drawn(3, 4, dim=5)
    with pytest.raises(UserError, match=r"two training images of each class.*\[4, 4, 1\]"):
        fitted(values[:9], labels[:9], 3)
