"""A model and data become weights.

The names of ``__all__`` are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from leukemia import lazy

if TYPE_CHECKING:
    from leukemia.training.callbacks import AtomicCheckpointIO
    from leukemia.training.embedded import Starting
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
        "AtomicCheckpointIO": "callbacks",
        "Hardware": "hardware",
        "History": "stage",
        "Stage": "stage",
        "Starting": "embedded",
        "fit_stage": "stage",
        "make_trainer": "stage",
        "predict": "stage",
    },
)
