"""How the network was trained."""

from collections.abc import Iterator

from leukemia.report.curves import learning_curves
from leukemia.report.findings import Findings
from leukemia.report.page import image


def training(found: Findings) -> Iterator[str]:
    """The learning curves, where there is a history."""
    if found.history:
        yield "<h2>Training</h2>"
        yield image(
            learning_curves(found.history),
            f"Loss and validation accuracy over {len(found.history)} epochs; history.csv has the "
            "values.",
            "Loss and validation accuracy by epoch, counted on through all stages.",
        )
