"""What the probabilities are worth."""

from collections.abc import Iterator

from leukemia.report.curves import reliability, roc_and_pr
from leukemia.report.findings import Findings
from leukemia.report.page import image


def probabilities(found: Findings) -> Iterator[str]:
    """ROC, precision-recall and reliability of every part."""
    yield "<h2>Probabilities</h2>"
    yield image(
        roc_and_pr(found.predictions),
        "ROC and precision-recall curves of cancer against benign; the summary has the areas.",
        "Cancer against benign, by the probability of cancer. Markers: the decision taken here.",
    )
    yield image(
        reliability(found.predictions),
        "Accuracy against confidence in 15 bins, with the number of images in each bin.",
        "How often the most probable class is right, by its probability, with 95% intervals. "
        "On the dashed line confidence equals accuracy.",
    )
