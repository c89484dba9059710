"""Predictions to test on."""

import numpy as np

from leukemia.classes import Classes
from leukemia.report.predictions import Predictions

ABC = Classes(("A", "B", "C"), benign="A")


def random_predictions(n=200, gain=2.0, seed=0, classes=None):
    """Softmax of noise plus `gain` on the true class; every class occurs."""
    classes = classes or Classes()
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(classes))
    logits = rng.normal(size=(n, len(classes))) * 1.5
    logits[np.arange(n), labels] += gain
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    files = tuple(f"{classes.names[k]}/{i:03d}.jpg" for i, k in enumerate(labels))
    return Predictions(files, labels, probabilities, classes)


def toy():
    """Six files of three classes whose figures a reader can work out."""
    return Predictions(
        files=("a1", "a2", "b1", "b2", "c1", "c2"),
        labels=np.array([0, 0, 1, 1, 2, 2]),
        probabilities=np.array(
            [
                [0.75, 0.25, 0.0],
                [0.25, 0.75, 0.0],  # benign called B
                [0.125, 0.75, 0.125],
                [0.5, 0.25, 0.25],  # cancer missed
                [0.0, 0.25, 0.75],
                [0.0, 0.5, 0.5],  # a tie: the first, B
            ]
        ),
        classes=ABC,
    )


def by_p_cancer(cancer, benign):
    """Two classes, A benign, with these P(cancer); the files are named in order c0, c1, .. b0."""
    scores = np.array([*cancer, *benign])
    return Predictions(
        files=tuple([f"c{i}" for i in range(len(cancer))] + [f"b{i}" for i in range(len(benign))]),
        labels=np.repeat([1, 0], [len(cancer), len(benign)]),
        probabilities=np.stack([1 - scores, scores], axis=1),
        classes=Classes(("A", "B"), benign="A"),
    )
