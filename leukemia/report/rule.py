"""Which setting of a study wins."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from leukemia.errors import UserError

LOWER_IS_BETTER = ("nll", "brier", "ece")
HIGHER_IS_BETTER = (
    "accuracy",
    "macro_f1",
    "cancer_recall",
    "cancer_specificity",
    "roc_auc",
    "average_precision",
)


@dataclass(frozen=True)
class Rule:
    """Which setting of a study wins.

    Args:
        metric: a figure of validation in metrics.json; its mean over seeds decides.
        tie_break: figures that decide in turn between settings that are equal so far; at last
            the lower trial number.

    Raises:
        UserError: an unknown figure.
    """

    metric: str = "macro_f1"
    tie_break: tuple[str, ...] = ("nll",)

    def __post_init__(self) -> None:
        """Refuse what could not choose."""
        known = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)
        for name in (self.metric, *self.tie_break):
            if name not in known:
                raise UserError(
                    f"Expected study.metric and study.tie_break to be of {', '.join(known)}, "
                    f"but got '{name}'."
                )

    @property
    def direction(self) -> str:
        """``max`` or ``min``: which end of the metric is better."""
        return _better(self.metric)

    def __str__(self) -> str:
        """The rule in words."""
        best, *ties = (
            f"the {'lowest' if _better(name) == 'min' else 'highest'} {name}"
            for name in (self.metric, *self.tie_break)
        )
        return (
            f"{best} on validation (its mean over seeds); "
            f"between equals {', then '.join([*ties, 'the lower trial number'])}"
        )

    def key(self, means: Mapping[str, float]) -> tuple[float, ...]:
        """Return what sorts settings, the best first.

        Args:
            means: a setting's figures; one that is undefined (nan), such as the specificity
                without benign images, wins nothing.
        """
        return tuple(
            math.inf
            if math.isnan(means[name])
            else means[name] * (1.0 if _better(name) == "min" else -1.0)
            for name in (self.metric, *self.tie_break)
        )


def _better(name: str) -> str:
    return "min" if name in LOWER_IS_BETTER else "max"
