"""The images of a run on a plane, near where the network's features are alike."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.report.figures import MANY, STYLE, class_colours

MOST_POINTS = 1000  # t-SNE of so many takes seconds on one core
METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
_FEWEST = 5  # fewer have no neighbourhood to keep
_NEIGHBOURS = 30
_DIMENSIONS = 50  # what t-SNE's authors reduce to first; more cost time and add noise
_MARKERS = "o^sDv"


@dataclass(frozen=True)
class EmbeddingMap:
    """N images on a plane.

    Args:
        points: (N, 2), in arbitrary units.
        labels: true class of each, (N,).
        predicted: the class each was called, (N,).
        parts: the part each is of, such as val or test, N names.
        classes: names of the classes.
        method: how the points were found, as a reader meets it.
        dimensions: of an embedding, before.
        total: how many images the N were drawn from.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    parts: tuple[str, ...]
    classes: Classes
    method: str
    dimensions: int
    total: int


def check_method(method: str) -> None:
    """Refuse a method that could not be used, before hours of training end in it.

    Raises:
        UserError: no such method, or UMAP without the package umap-learn.
    """
    if method not in METHODS:
        raise UserError(f"Expected report.map to be one of {list(METHODS)}, but got '{method}'.")
    if method == "umap" and find_spec("umap") is None:
        raise UserError(
            "report.map=umap needs the package umap-learn: run `pip install umap-learn`, "
            "or choose report.map=tsne."
        )


def draw_rows(n: int, seed: int, most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Which of `n` images to map: all, or `most` of them drawn at random.

    Args:
        n: number of images.
        seed: of the draw; equal arguments give equal rows.
        most: how many at most.

    Returns:
        Rows, ascending.
    """
    if n <= most:
        return np.arange(n)
    drawn = np.random.default_rng(seed).choice(n, most, replace=False)
    return np.sort(drawn).astype(np.int64)


def project(
    embeddings: NDArray[np.floating], *, seed: int, method: str = "tsne"
) -> NDArray[np.float64] | None:
    """Bring embeddings onto a plane so that near neighbours stay near.

    t-SNE: L. van der Maaten and G. Hinton (2008), JMLR 9:2579-2605, here with PCA as its start.
    UMAP: L. McInnes et al. (2018), doi:10.21105/joss.00861.

    Args:
        embeddings: (N, d); N of about 1000 takes seconds, ten times as many take minutes.
        seed: equal arguments give equal points.
        method: `tsne`, or `umap` where the package umap-learn is installed.

    Returns:
        (N, 2), or None where N is below 5 or all embeddings are equal.

    Raises:
        UserError: embeddings that are not finite, or what `check_method` refuses.
    """
    check_method(method)
    rows = np.asarray(embeddings, np.float64)
    if not np.isfinite(rows).all():
        raise UserError("Expected finite embeddings to map, but got nan or infinite ones.")
    if len(rows) < _FEWEST or (rows == rows[0]).all():
        return None
    # Imported here: they take a second, and a training asks for its first step before.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if min(rows.shape) > _DIMENSIONS:
        rows = PCA(_DIMENSIONS, svd_solver="randomized", random_state=seed).fit_transform(rows)
    neighbours = min(_NEIGHBOURS, (len(rows) - 1) // 3)
    if method == "umap":
        found = _umap(rows, neighbours, seed)
    else:
        start = "pca" if rows.shape[1] > 1 else "random"
        found = TSNE(perplexity=neighbours, init=start, random_state=seed).fit_transform(rows)
    return np.asarray(found, np.float64)


def _umap(rows: NDArray[np.float64], neighbours: int, seed: int) -> NDArray[np.floating]:
    from umap import UMAP

    # One thread: several would make the seed worthless, and UMAP warns of it.
    points: NDArray[np.floating] = UMAP(
        n_neighbors=max(neighbours, 2), random_state=seed, n_jobs=1
    ).fit_transform(rows)
    return points


@mpl.rc_context(STYLE)
def embedding_scatter(found: EmbeddingMap) -> Figure:
    """The map: colour is the true class, the marker is the part, a ring is a mistake."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    names = found.classes.names
    parts = list(dict.fromkeys(found.parts))
    colours, many = class_colours(len(names)), len(names) > MANY
    markers = {part: _MARKERS[i % len(_MARKERS)] for i, part in enumerate(parts)}
    member = np.array(found.parts)
    for part in parts:
        for label, colour in enumerate(colours):
            points = found.points[(member == part) & (found.labels == label)]
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=16,
                color=colour,
                marker=markers[part],
                alpha=0.75,
                linewidths=0,
            )
    wrong = found.points[found.labels != found.predicted]
    axes.scatter(wrong[:, 0], wrong[:, 1], s=90, facecolors="none", edgecolors="k", linewidths=1.2)
    for label, name in enumerate(names):
        points = found.points[found.labels == label]
        if len(points):  # the name says again what the colour says
            x, y = np.median(points, axis=0)
            size = 8 if many else None
            text = axes.text(x, y, name, ha="center", va="center", fontsize=size)
            text.set_path_effects([withStroke(linewidth=3, foreground="w")])
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    axes.margins(0.03)

    def key(label: str, colour: str, marker: str, **style: object) -> Line2D:
        return Line2D([], [], ls="", c=colour, marker=marker, label=label, **style)  # type: ignore[arg-type]

    keys = [key(name, colour, "o") for name, colour in zip(names, colours, strict=True)]
    keys += [key(part, "k", marker, mfc="none") for part, marker in markers.items()]
    keys.append(key(f"mistake ({len(wrong)})", "k", "o", mfc="none", ms=10))
    if many:  # in columns that are no longer than the map
        small: dict[str, Any] = {"fontsize": 8, "ncols": -(-len(keys) // 24)}
        figure.set_size_inches(11, 6)
        figure.legend(handles=keys, loc="outside right upper", **small)
        return figure
    figure.legend(handles=keys, loc="outside right upper")
    return figure
