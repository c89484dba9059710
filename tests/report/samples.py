"""Predictions to test on."""

import numpy as np

from leukemia.classes import Classes
from leukemia.measure.calibration import fit_calibration
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions
from leukemia.measure.referral import judge
from leukemia.report.embedding_map import EmbeddingMap
from leukemia.report.findings import DataFacts, Findings
from leukemia.report.mistakes import worst_mistakes

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


CONFIG = """\
seed: 7
model:
  name: resnet18
  head:
    _target_: leukemia.models.head.LinearHead
  backbone:
    weights: imagenet.pth
data:
  name: aria
crop:
  mode: square
  size: 224
mask:
  order: published
stage:
  head:
    monitor: nll
runtime:
  tta: true
"""

FACTS = DataFacts(
    source="aria",
    fingerprint="f" * 64,
    counts={
        part: dict.fromkeys(Classes().names, n)
        for part, n in {"train": 300, "val": 20, "test": 30}.items()
    },
    split="paper",
    disjoint="files and identical copies",
)


def findings(parts, **changes):
    """What a run would know of some predictions, with every section of one's own choice."""
    values = {
        "title": "resnet18 on aria",
        "metrics": {name: summarize(part) for name, part in parts.items()},
        "predictions": parts,
        "history": [{"stage": "head", "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}] * 3,
        "config_yaml": CONFIG,
        "environment": {"python": "3.11", "packages": {"torch": "2.15"}},
        "notes": ["Validation was drawn at random."],
        "floors": [
            {"name": "colour-histogram SVM", "accuracy": 0.935},
            {"name": "mean colour", "accuracy": 0.895},
        ],
    }
    return Findings(**{**values, **changes})


def noise(seed, side=224):
    """A picture that compresses worst."""
    return np.random.default_rng(seed).integers(256, size=(side, side, 3), dtype=np.uint8)


def pictures(parts, views=("image", "as the network sees it")):
    """Noise for the worst mistakes of every part."""
    return {
        name: {row: {view: noise(row) for view in views} for row in worst_mistakes(part)}
        for name, part in parts.items()
    }


def scattered(parts, dimensions=512, total=None):
    """A map with every image at a random place."""
    labels = np.concatenate([part.labels for part in parts.values()])
    return EmbeddingMap(
        points=np.random.default_rng(0).normal(size=(len(labels), 2)),
        labels=labels,
        predicted=np.concatenate([part.predicted for part in parts.values()]),
        parts=tuple(name for name, part in parts.items() for _ in part.files),
        classes=next(iter(parts.values())).classes,
        method="t-SNE",
        dimensions=dimensions,
        total=total or len(labels),
    )


def judgement(parts):
    """A calibration fitted on the first part, and what it does to all."""
    calibration = fit_calibration(next(iter(parts.values())))
    judged = {name: judge(part, calibration) for name, part in parts.items()}
    return {"calibration": calibration, "judged": judged}
