"""What a run found, in one place: the report and the model card are written from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukemia.classes import Classes
from leukemia.measure.calibration import Calibration
from leukemia.measure.predictions import Predictions
from leukemia.report.curves import Cell
from leukemia.report.embedding_map import EmbeddingMap

Pictures = Mapping[str, Mapping[int, Mapping[str, NDArray[np.uint8]]]]
"""Part -> row of its predictions -> name of a view -> RGB pixels (H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Which images a run used.

    Args:
        source: the dataset's name in the settings, such as `aria`.
        fingerprint: `Manifest.fingerprint`, which changes with any file, label or order.
        counts: images by part and class name, with the parts train, val and test.
        split: how the parts were made, the name of the split.
        disjoint: at which level parts are disjoint, such as "files and identical copies".
        skipped: files left out as unreadable.
    """

    source: str
    fingerprint: str
    counts: Mapping[str, Mapping[str, int]]
    split: str
    disjoint: str
    skipped: int = 0


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is known of a run; what is empty or None leaves its section out.

    Args:
        title: heading of the report, such as `resnet18 on aria`.
        metrics: figures by part (val, test), as `summarize` returns them.
        predictions: the tables they were computed from, with the same parts.
        history: rows of history.csv.
        config_yaml: the resolved config, as it was written.
        environment: versions, hardware and so on; may be nested.
        notes: what a reader must know to judge the figures, one sentence each.
        floors: what simple features reach on the same test files, each with `name` and
            `accuracy` in [0, 1]; compared with the part "test".
        data: which images.
        embedding: the images as the network's features arrange them.
        pictures: of the mistakes, see `worst_mistakes`.
        attention: by part and name of a region, such as `nuclei`, the share in [0, 1] of each
            image's heat map that lies on it, (N,) in the order of the predictions; nan where no
            map was made.
        calibration: the run's.
        judged: by part, some of `predictions`, what `judge` returned with that calibration.
    """

    title: str
    metrics: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, Predictions]
    history: Sequence[Mapping[str, Cell]] = ()
    config_yaml: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    floors: Sequence[Mapping[str, Any]] = ()
    data: DataFacts | None = None
    embedding: EmbeddingMap | None = None
    pictures: Pictures = field(default_factory=dict)
    attention: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    calibration: Calibration | None = None
    judged: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def classes(self) -> Classes:
        """The classes of all parts."""
        return next(iter(self.predictions.values())).classes
