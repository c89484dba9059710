"""Acquisition groups: images that look as if they were stained and photographed together.

No patient is known: a group may hold several patients, and a patient several groups. A split that
keeps groups whole is the best stand-in that pixels allow for one that keeps patients whole.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from leukemia.data.image.mask import Regions

Floats = NDArray[np.float64]

_SEEN: Final = 20  # pixels that a region must have for its colour to be told
_NEIGHBOURS: Final = 5
_STYLE: Final = 3.0  # bars of two styles are sqrt(2) times this apart, in units of near neighbours


def appearance(rgb: NDArray[np.uint8], regions: Regions) -> Floats:
    """Return what light, stain and camera do to an image, whatever its cells.

    Args:
        rgb: (H, W, 3), uint8.
        regions: of the same image.

    Returns:
        (9,), logarithms: the tint of the background (red and blue against green, so that its
        brightness, which falls off within a field, is left out), the absorption of red cells and
        of nuclei in each channel relative to the background, and the grain of the background;
        nan where a region is too small to tell.
    """
    glass, cells, nuclei = (
        np.log(rgb[region].mean(axis=0) + 1) if region.sum() > _SEEN else np.full(3, np.nan)
        for region in (regions.background, regions.cells, regions.nuclei)
    )
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    # No smooth change of light passes this filter (doi:10.1006/cviu.1996.0060).
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    grain = np.abs(cv2.filter2D(grey, -1, kernel)[regions.background])
    # Edges of debris shall not count as grain.
    noise = np.minimum(grain, 40).mean() if len(grain) > _SEEN else np.nan
    tint = [glass[0] - glass[1], glass[2] - glass[1]]
    return np.array([*tint, *(cells - glass), *(nuclei - glass), np.log(noise + 0.5)])


def find_groups(
    appearances: Floats, styles: NDArray[np.int64], *, smallest: int = 10, largest: float = 0.1
) -> NDArray[np.int64]:
    """Cluster images by appearance; how many groups there are is found, not told.

    HDBSCAN (doi:10.1007/978-3-642-37456-2_14) on features in units of the distance between near
    neighbours. A cluster above ``largest`` is looked at again on its own, and divided where it
    has parts. Images between clusters join that of their nearest neighbours.

    Args:
        appearances: by `appearance`, (N, 9).
        styles: of scale bars, whole numbers, (N,).
        smallest: images that make a group, 2 or more.
        largest: share of all images above which a group is looked at again, in (0, 1].

    Returns:
        A group for each image, (N,), by descending size from 0; the same for the same images.
    """
    if len(appearances) < 2 * smallest:
        return np.zeros(len(appearances), np.int64)
    known = np.where(np.isnan(appearances), _medians(appearances), appearances)
    bars = _STYLE * np.eye(int(styles.max()) + 1)[styles]
    points = np.hstack([_in_near_distances(known), bars])
    found = _divide(points, smallest, largest * len(points))
    return _by_size(found)


def keep_together(groups: NDArray[np.int64], related: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put related images, such as duplicates, into the group that most of them are in.

    Args:
        groups: group ids, (N,).
        related: which images belong together, (N,).

    Returns:
        Group ids, (N,), by descending size from 0; each set of related images is in one group.
    """
    moved = groups.copy()
    for one in np.flatnonzero(np.bincount(related) > 1):
        rows = related == one
        moved[rows] = np.bincount(groups[rows]).argmax()
    return _by_size(np.unique(moved, return_inverse=True)[1])


def _by_size(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(-np.bincount(groups), kind="stable")
    return np.argsort(order)[groups]


def _medians(values: Floats) -> Floats:
    # A column may be unknown throughout, which numpy would warn of.
    return np.array([np.median(c[~np.isnan(c)]) if not np.isnan(c).all() else 0 for c in values.T])


def _in_near_distances(values: Floats) -> Floats:
    """Scale each feature by how much near neighbours differ in it: the spread within groups."""
    scaled: Floats = values / np.maximum(values.std(axis=0), 1e-9)
    neighbours = min(_NEIGHBOURS + 1, len(values))
    for _ in range(2):  # who is near depends on the scale
        near = NearestNeighbors(n_neighbors=neighbours).fit(scaled).kneighbors(scaled)[1][:, 1:]
        apart = np.sqrt(((scaled[near] - scaled[:, None]) ** 2).mean(axis=(0, 1)))
        scaled = scaled / np.maximum(apart, 1e-9)
    return scaled


def _divide(points: Floats, smallest: int, limit: float) -> NDArray[np.int64]:
    parts = _clusters(points, smallest)
    found, n_found = np.zeros(len(points), np.int64), 0
    for part in range(int(parts.max()) + 1):
        rows = np.flatnonzero(parts == part)
        again = parts.max() > 0 and len(rows) > limit
        inner = _divide(points[rows], smallest, limit) if again else np.zeros(len(rows), np.int64)
        found[rows] = n_found + inner
        n_found += int(inner.max()) + 1
    return found


def _clusters(points: Floats, smallest: int) -> NDArray[np.int64]:
    """Return the cluster of each point, all in one where no two are found."""
    one = np.zeros(len(points), np.int64)
    if len(points) < 2 * smallest:
        return one
    searcher = HDBSCAN(min_cluster_size=smallest, min_samples=min(_NEIGHBOURS, smallest), copy=True)
    labels: NDArray[np.int64] = searcher.fit_predict(points).astype(np.int64)
    if labels.max() < 1:
        return one
    inside = labels >= 0
    if not inside.all():
        nearest = KNeighborsClassifier(_NEIGHBOURS).fit(points[inside], labels[inside])
        labels[~inside] = nearest.predict(points[~inside])
    return labels
