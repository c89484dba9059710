"""The images as the network's features arrange them."""

from collections.abc import Iterator

from leukemia.report.embedding_map import embedding_scatter
from leukemia.report.findings import Findings
from leukemia.report.page import image


def embedding(found: Findings) -> Iterator[str]:
    """The map of the embeddings, where it was made."""
    if found.embedding is None:
        return
    shown = found.embedding
    n, wrong = len(shown.points), int((shown.labels != shown.predicted).sum())
    drawn = "" if n == shown.total else f", drawn at random from {shown.total}"
    yield "<h2>Embeddings</h2>"
    yield image(
        embedding_scatter(shown),
        f"{shown.method} map of {n} images{drawn}, coloured by class, with {wrong} mistakes "
        "ringed; the tables of mistakes name the files.",
        f"{shown.method} of the {shown.dimensions} features before the decision, {n} images"
        f"{drawn}. Colour: true class. Marker: part. Ring: a mistake. Near neighbours in the map "
        "are near in the features; the size of a cloud and its distance to others mean nothing.",
    )
