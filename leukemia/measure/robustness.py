"""What a run keeps of its figures when stain, light and camera change, beside the colour floors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukemia.classes import Classes
from leukemia.measure.intervals import proportion, shown
from leukemia.measure.predictions import is_cancer

FIGURES = ("accuracy", "cancer_recall", "cancer_specificity")


@dataclass(frozen=True)
class Scored:
    """The figures of one model under one change.

    Args:
        perturbation: its name; ``none`` for the images as they are.
        strength: 1 to 5; 0 for the images as they are.
        value: how much that is.
        model: who judged: ``run``, or the name of a floor.
        figures: `FIGURES` by name, in [0, 1]; None where undefined. Those of cancer are there
            only where a class is benign.
        intervals: their 95% intervals.
    """

    perturbation: str
    strength: int
    value: float
    model: str
    figures: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]


def score(
    predicted: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: Classes,
    groups: NDArray[np.int64] | None = None,
) -> tuple[dict[str, float | None], dict[str, tuple[float, float] | None]]:
    """Return `FIGURES` and their 95% intervals from predicted and true classes, (N,) each."""
    every = np.ones(len(labels), dtype=np.bool_)
    trials = {"accuracy": (predicted == labels, every)}
    if classes.has_cancer:
        cancer, called = is_cancer(labels, classes), is_cancer(predicted, classes)
        trials |= {"cancer_recall": (called, cancer), "cancer_specificity": (~called, ~cancer)}
    figures = {
        name: float(won[trial].mean()) if trial.any() else None
        for name, (won, trial) in trials.items()
    }
    return figures, {name: proportion(*pair, groups) for name, pair in trials.items()}


@dataclass(frozen=True)
class Suite:
    """A suite's results.

    Args:
        title: heading of the page.
        n: images scored each time.
        moderate: the strengths that count as moderate.
        says: what the values of each perturbation are, by its name, in order.
        scored: a row a model, perturbation and strength, with the images as they are among them.
        notes: what a reader must know, one sentence each.
    """

    title: str
    n: int
    moderate: Sequence[int]
    says: Mapping[str, str]
    scored: Sequence[Scored]
    notes: Sequence[str] = ()

    @property
    def figures(self) -> list[str]:
        """The names of the figures that were scored, in the order of `FIGURES`."""
        return [name for name in FIGURES if any(name in row.figures for row in self.scored)]

    @property
    def models(self) -> list[str]:
        """Who judged, the run first."""
        return list(dict.fromkeys(row.model for row in self.scored))

    def plain(self, model: str) -> Scored:
        """A model's figures on the images as they are."""
        return next(row for row in self.scored if row.model == model and row.strength == 0)

    def curve(self, model: str, perturbation: str) -> list[Scored]:
        """A model's figures under one perturbation, from mild to strong."""
        found = [
            row for row in self.scored if (row.model, row.perturbation) == (model, perturbation)
        ]
        return sorted(found, key=lambda row: row.strength)

    def losses(self, model: str, figure: str) -> dict[tuple[str, int], float]:
        """What a figure loses under each moderate change, by perturbation and strength."""
        before = self.plain(model).figures[figure]
        return {
            (row.perturbation, row.strength): before - after
            for row in self.scored
            if row.model == model
            and row.strength in self.moderate
            and before is not None
            and (after := row.figures[figure]) is not None
        }

    def summary(self) -> dict[str, Any]:
        """Mean and worst loss over the moderate changes, by model and figure."""
        found: dict[str, Any] = {}
        for model in self.models:
            found[model] = {}
            for figure in self.figures:
                losses = self.losses(model, figure)
                if not losses:
                    continue
                name, strength = max(losses, key=lambda change: losses[change])
                found[model][figure] = {
                    "unperturbed": self.plain(model).figures[figure],
                    "mean_loss": float(np.mean(list(losses.values()))),
                    "worst_loss": losses[name, strength],
                    "worst": f"{name} {strength}",
                }
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "n": self.n,
            "moderate": list(self.moderate),
            "says": dict(self.says),
            "summary": self.summary(),
            "scored": [
                {
                    "perturbation": row.perturbation,
                    "strength": row.strength,
                    "value": row.value,
                    "model": row.model,
                    **row.figures,
                    "interval": {
                        name: None if bounds is None else list(bounds)
                        for name, bounds in row.intervals.items()
                    },
                }
                for row in self.scored
            ],
        }


def summary_rows(suite: Suite) -> tuple[list[str], list[list[str]]]:
    """Header and rows of plain figures, mean and worst loss by model."""
    header = ["model", "figure", "as they are [95%]", "mean loss", "worst loss", "under"]
    rows = [
        [
            model,
            figure.replace("_", " "),
            shown(plain.figures[figure], plain.intervals[figure]),
            f"{at['mean_loss']:+.3f}",
            f"{at['worst_loss']:+.3f}",
            at["worst"],
        ]
        for model, figures in suite.summary().items()
        for plain in [suite.plain(model)]
        for figure, at in figures.items()
    ]
    return header, rows
