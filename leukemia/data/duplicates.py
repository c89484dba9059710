"""Images of one field in one collection: copies, also when turned, re-encoded or shifted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data import overlap
from leukemia.data.groups import connected, identical_groups
from leukemia.data.spectra import propose

SIDE: Final = 64  # pixels of a thumbnail
_REACH: Final = 12  # largest shift that is looked for, in pixels of a thumbnail
_COARSE: Final = 2.0  # sigma of what is taken away to see the detail, in pixels of a thumbnail
# Correlation of the detail from which on it is the same. Any two pictures of one round cell in the
# middle are alike at large. Of the Aria data's pairs that show one field none is below 0.76, of the
# most similar others none above 0.59.
_SAME_DETAIL: Final = 0.75
_VIEWS: Final = (
    ((False, 0), (False, 2)),
    ((True, 0), (True, 2)),
    ((True, 1), (True, 3)),
    ((False, 1), (False, 3)),
)
"""For each of `spectra.MIRRORED`: whether mirrored, then how many quarter turns."""


@dataclass(frozen=True)
class Pair:
    """Two images that show one field.

    Args:
        first: a row.
        second: a higher row.
        kind: ``identical``, byte for byte, or ``near``.
        transform: what takes the first to the second: ``none``, ``flip`` (left to right),
            ``turn 90``, ``turn 180``, ``turn 270`` (degrees anticlockwise), or ``flip, turn 90``
            and so on.
        correlation: of the grey values that both show, in [-1, 1], each the mean of a
            thirty-second of the side squared.
        shift: how far the content then moves, as a share of the side.
    """

    first: int
    second: int
    kind: str
    transform: str
    correlation: float
    shift: float = 0.0


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image to what `find_duplicates` compares.

    Args:
        image: (H, W, 3), RGB, of any size; other shapes than squares are squashed.

    Returns:
        Grey, (64, 64).
    """
    small: NDArray[np.uint8] = overlap.thumbnails([image], side=SIDE)[0]
    return small


def find_duplicates(
    thumbnails: NDArray[np.uint8], hashes: Sequence[str], *, threshold: float = 0.9
) -> list[Pair]:
    """Find the pairs of images that show one field.

    The picture at large and its detail must agree; flips, quarter turns, shifts up to 19% of a
    side, other stain, light and encoding do not hide that. Empty fields are like no other, but
    for identical files. Of an image's near-duplicates the ten nearest are compared with it.

    Args:
        thumbnails: by `thumbnail`, (N, 64, 64).
        hashes: of the files' bytes, N.
        threshold: correlation in (0, 1] from which on a pair counts.

    Returns:
        The pairs, by rows in ascending order.
    """
    copies: dict[int, list[int]] = {}
    for row, group in enumerate(identical_groups(hashes).tolist()):
        copies.setdefault(group, []).append(row)
    # One of identical files stands for all, or they would be each other's nearest.
    groups = list(copies.values())
    once = thumbnails[[group[0] for group in groups]]
    smooth = _smooth(once)
    detail = np.array([image - cv2.GaussianBlur(image, (0, 0), _COARSE) for image in smooth])
    best: dict[tuple[int, int], Pair] = {}
    for a, b, view in propose(once):
        for mirrored, turns in _VIEWS[view]:
            one, fine = (
                np.rot90(images[a][:, ::-1] if mirrored else images[a], turns)
                for images in (smooth, detail)
            )
            score, shift = _align(fine, detail[b])
            if score < _SAME_DETAIL:
                continue
            correlation = _correlation(one, smooth[b], *shift)
            known = best[a, b].correlation if (a, b) in best else -1.0
            if correlation >= threshold and correlation > known:
                name, moved = _name(mirrored, turns), float(np.hypot(*shift)) / SIDE
                best[a, b] = Pair(groups[a][0], groups[b][0], "near", name, correlation, moved)
    pairs = [
        Pair(one, other, "identical", "none", 1.0)
        for group in groups
        for one, other in combinations(group, 2)
    ]
    for (a, b), pair in best.items():
        pairs += [_between(one, other, pair) for one, other in product(groups[a], groups[b])]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def duplicate_groups(pairs: Iterable[Pair], n: int) -> NDArray[np.int64]:
    """Group the images that pairs join, also through others.

    Args:
        pairs: of rows below ``n``.
        n: how many images there are.

    Returns:
        A group id for each image, (n,), in [0, n); ids count up in order of first appearance.
    """
    joined = np.array([(pair.first, pair.second) for pair in pairs], np.int64).reshape(-1, 2)
    return connected(joined, n)


def _smooth(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the means of all windows of 2 x 2 pixels, (N, 63, 63)."""
    tall = thumbnails[:, 1:].astype(np.float32)
    tall += thumbnails[:, :-1]
    return np.asarray((tall[:, :, 1:] + tall[:, :, :-1]) / 4, np.float32)


def _align(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, tuple[int, int]]:
    """Return how well the middle of one matches the other where it does best, and the shift."""
    middle = np.ascontiguousarray(one[_REACH:-_REACH, _REACH:-_REACH])
    scores = cv2.matchTemplate(other, middle, cv2.TM_CCOEFF_NORMED)
    down, right = np.unravel_index(scores.argmax(), scores.shape)
    return float(scores.max()), (int(down) - _REACH, int(right) - _REACH)


def _correlation(
    one: NDArray[np.float32], other: NDArray[np.float32], down: int, right: int
) -> float:
    """Correlate what both show when the first is moved."""
    height, width = len(one) - abs(down), len(one) - abs(right)
    top, left = max(0, down), max(0, right)
    # Every second window: unshifted, these are the pixels of a 32 x 32 thumbnail.
    a = one[top - down :, left - right :][:height:2, :width:2].ravel()
    b = other[top:, left:][:height:2, :width:2].ravel()
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return min(1.0, float(a @ b) / scale) if scale else 0.0


def _name(mirrored: bool, turns: int) -> str:
    parts = ["flip"] * mirrored + [f"turn {90 * turns}"] * (turns > 0)
    return ", ".join(parts) or "none"


def _between(one: int, other: int, pair: Pair) -> Pair:
    """Return what holds between copies of a pair's images."""
    if one < other:
        return replace(pair, first=one, second=other)
    # Mirrored or not, all else is its own inverse.
    back = {"turn 90": "turn 270", "turn 270": "turn 90"}.get(pair.transform, pair.transform)
    return replace(pair, first=other, second=one, transform=back)
