"""A model and data become weights.

The names of ``__all__`` are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from leukemia import lazy

if TYPE_CHECKING:
    from leukemia.training.checkpoint import AtomicCheckpointIO
    from leukemia.training.closed_form import Starting
    from leukemia.training.hardware import Hardware
    from leukemia.training.stage import History, Stage, fit_stage, make_trainer, predict

__all__ = [
    "AtomicCheckpointIO",
    "Hardware",
    "History",
    "Stage",
    "Starting",
    "fit_stage",
    "make_trainer",
    "predict",
]

__getattr__ = lazy(
    __name__,
    {
        "AtomicCheckpointIO": "checkpoint",
        "Hardware": "hardware",
        "History": "stage",
        "Stage": "stage",
        "Starting": "closed_form",
        "fit_stage": "stage",
        "make_trainer": "stage",
        "predict": "stage",
    },
)
