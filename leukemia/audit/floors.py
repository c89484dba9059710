"""Shortcut floors: what a simple classifier scores from features that hold no cell's shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import resample

from leukemia.classes import Classes
from leukemia.compose.data import make_parts
from leukemia.data.files.manifest import Manifest
from leukemia.data.split.groups import identical_groups
from leukemia.errors import UserError
from leukemia.measure.intervals import proportion
from leukemia.measure.predictions import is_cancer

Interval = tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Protocol:
    """One way to divide N images.

    Args:
        folds: rows to train on and rows to test; their tests, pooled, are scored together.
        groups: which images belong together, (N,), for the intervals.
    """

    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class Floor:
    """What one kind of features reaches under one protocol.

    Args:
        features: their name.
        protocol: the name of the split.
        accuracy: in [0, 1].
        interval: its 95% interval.
        cancer_recall: share of the cancers that are not called benign, in [0, 1]; None where no
            class is benign.
        cancer_recall_interval: its 95% interval.
        n: images tested.
        chance: accuracy of always naming the largest class.
        given_away: the class that is told best from all others.
        balanced: mean of its sensitivity and specificity against the others, in [0, 1]; 0.5 is
            chance. A mark on one class alone shows here, whatever the accuracy.
    """

    features: str
    protocol: str
    accuracy: float
    interval: Interval
    cancer_recall: float | None
    cancer_recall_interval: Interval
    n: int
    chance: float
    given_away: str
    balanced: float

    @property
    def above_chance(self) -> bool:
        """Whether the whole interval lies above chance."""
        return self.interval is not None and self.interval[0] > self.chance


def measure_floors(
    cues: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.int64],
    classes: Classes,
    protocols: Mapping[str, Protocol],
    *,
    penalty: float = 10.0,
    most: int = 4000,
) -> list[Floor]:
    """Score a support vector machine with Gaussian kernel on standardised features.

    Args:
        cues: features by name, (N, d) each.
        labels: of the N images.
        classes: the class scheme.
        protocols: by name of the split.
        penalty: the machine's C; nothing is tuned.
        most: images to learn from, drawn from each class by its share where there are more: the
            machine's time grows with their square.

    Returns:
        One floor for each protocol and kind of features, in the order of `by_feature`.
    """
    floors: list[Floor] = []
    for name, protocol in protocols.items():
        scored = [
            _floor(
                feature, name, _predict(values, labels, protocol, penalty, most), labels, classes
            )
            for feature, values in cues.items()
        ]
        floors += scored
    return [floor for found in by_feature(floors).values() for floor in found]


def by_feature(floors: Sequence[Floor]) -> dict[str, list[Floor]]:
    """Return the floors of each kind of features, what gives a class away most surely first.

    Judged under the protocol that tests most images; where two kinds give a class away alike, to
    two digits, the one of higher accuracy comes first.
    """
    most = max((floor.n for floor in floors), default=0)
    judged = next((floor.protocol for floor in floors if floor.n == most), "")
    ranked = sorted(
        (floor for floor in floors if floor.protocol == judged),
        key=lambda floor: (-round(floor.balanced, 2), -floor.accuracy),
    )
    return {
        one.features: [floor for floor in floors if floor.features == one.features]
        for one in ranked
    }


_Scored = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Rows tested, what was predicted of them, and their groups."""


def _predict(
    values: NDArray[np.float32],
    labels: NDArray[np.int64],
    protocol: Protocol,
    penalty: float,
    most: int,
) -> _Scored:
    predicted = []
    for every, test in protocol.folds:
        train = every
        if len(every) > most:
            train = resample(
                every, n_samples=most, replace=False, stratify=labels[every], random_state=0
            )
        machine = make_pipeline(StandardScaler(), SVC(C=penalty))
        predicted.append(machine.fit(values[train], labels[train]).predict(values[test]))
    rows = np.concatenate([test for _, test in protocol.folds])
    return rows, np.concatenate(predicted), protocol.groups[rows]


def _floor(
    feature: str, protocol: str, scored: _Scored, labels: NDArray[np.int64], classes: Classes
) -> Floor:
    rows, predicted, groups = scored
    truth = labels[rows]
    right = predicted == truth
    recall, recall_interval = None, None
    if classes.has_cancer:
        cancer, found = is_cancer(truth, classes), is_cancer(predicted, classes)
        recall = float(found[cancer].mean())
        recall_interval = proportion(found, cancer, groups)
    told = {
        name: ((predicted == k)[truth == k].mean() + (predicted != k)[truth != k].mean()) / 2
        for k, name in enumerate(classes.names)
    }
    best = max(told, key=lambda name: told[name])
    return Floor(
        features=feature,
        protocol=protocol,
        accuracy=float(right.mean()),
        interval=proportion(right, np.ones(len(rows), np.bool_), groups),
        cancer_recall=recall,
        cancer_recall_interval=recall_interval,
        n=len(rows),
        chance=float(np.bincount(truth).max() / len(rows)),
        given_away=best,
        balanced=float(told[best]),
    )


_BY_GROUPS = ("grouped", "kfold")


def build_protocols(
    cfg: DictConfig, manifest: Manifest, related: npt.NDArray[np.int64]
) -> tuple[dict[str, Protocol], list[str]]:
    """Make the splits of ``protocols`` that the images allow.

    The machine learns from train and validation together, and is scored on test; under kfold
    every fold is the test part once, and they are scored together.

    Args:
        cfg: the audit's settings.
        manifest: the N images.
        related: groups that ``grouped`` and ``kfold`` keep whole, (N,), with identical files
            together.

    Returns:
        The protocols by name, and a line for each that is not possible, with the reason.
    """
    identical = identical_groups(manifest.sha256)
    protocols, notes = {}, []
    for name, split in cfg.protocols.items():
        if split is None:  # left out by the user
            continue
        groups = related if name in _BY_GROUPS else identical
        n_folds = split.folds if name == "kfold" else 1
        folds = []
        try:
            for fold in range(n_folds):
                if name == "kfold":
                    split = OmegaConf.merge(split, {"fold": fold})
                made = make_parts(
                    split, manifest, identical, groups,
                    n_classes=len(cfg.data.classes.names), seed=cfg.seed,
                )  # fmt: skip
                parts = made.parts
                folds.append((np.concatenate([parts["train"], parts["val"]]), parts["test"]))
        except UserError as error:
            notes.append(f"No floors under split={name}: {error}")
        else:
            protocols[name] = Protocol(folds, groups)
    return protocols, notes
