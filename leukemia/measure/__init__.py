"""Predictions become numbers.

The names of ``__all__`` are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from leukemia import lazy

if TYPE_CHECKING:
    from leukemia.measure.calibration import Calibration, apply_temperature, fit_calibration
    from leukemia.measure.comparison import compare
    from leukemia.measure.intervals import proportion, wilson
    from leukemia.measure.metrics import summarize
    from leukemia.measure.predictions import Predictions, cancer_probability, read_predictions
    from leukemia.measure.referral import net_benefit, risk_coverage

__all__ = [
    "Calibration",
    "Predictions",
    "apply_temperature",
    "cancer_probability",
    "compare",
    "fit_calibration",
    "net_benefit",
    "proportion",
    "read_predictions",
    "risk_coverage",
    "summarize",
    "wilson",
]

__getattr__ = lazy(
    __name__,
    {
        "Calibration": "calibration",
        "Predictions": "predictions",
        "apply_temperature": "calibration",
        "cancer_probability": "predictions",
        "compare": "comparison",
        "fit_calibration": "calibration",
        "net_benefit": "referral",
        "proportion": "intervals",
        "read_predictions": "predictions",
        "risk_coverage": "referral",
        "summarize": "metrics",
        "wilson": "intervals",
    },
)
