"""Images of one field in one collection: copies, also when turned, re-encoded or shifted."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from leukemia.data.split import guard as overlap
from leukemia.data.split.groups import connected, identical_groups

_FINEST: Final = 14  # waves across the side: 16 pixels of 224, half the diameter of a cell
_NEIGHBOURS: Final = 10
# Distance of two unit spectra up to which two images are proposed. A copy shifted by 8 of 224
# pixels, stained anew, turned and saved again lies within 0.25, fields that overlap by two thirds
# within 0.45; of the Aria data's files the nearest that show different fields lie at 0.33.
_RADIUS: Final = 0.45
# Standard deviation of what is no slow change of light, as a share of the mean: an empty field has
# 0.015, the palest of the Aria data's files 0.06.
_CONTENT: Final = 0.03
_BLOCK: Final = 512  # images, or pairs / 4, at once

MIRRORED: Final = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
"""Where the four waves of `spectra` go: unchanged, mirrored, transposed, turned by 90 degrees.
Half a turn changes no magnitude, so each stands for two of the eight flips and turns."""


def spectra(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe thumbnails by the strength of their waves, not by where these lie.

    The magnitudes of a Fourier transform do not change with a (cyclic) shift; a Hann window
    keeps what enters and leaves at the border from mattering much. Brightness and contrast are
    divided out.

    Args:
        thumbnails: (N, side, side).

    Returns:
        (N, W, 4), each of unit length: of W pairs of frequencies (a, b) the waves (a, b), (-a, b),
        (b, a) and (-b, a), which flips and quarter turns exchange.
    """
    steps = range(_FINEST + 1)
    waves = [(a, b) for a in steps for b in range(a + 1) if 0 < a * a + b * b <= _FINEST**2]
    a, b = np.array(waves).T
    side = thumbnails.shape[1]
    edge = np.hanning(side + 2)[1:-1].astype(np.float32)
    window = np.outer(edge, edge)
    found = np.empty((len(thumbnails), len(waves), 4), np.float32)
    for start in range(0, len(thumbnails), _BLOCK):
        block = thumbnails[start : start + _BLOCK].astype(np.float32)
        block -= (block * window).sum((1, 2), keepdims=True) / window.sum()
        strength = np.abs(np.fft.fft2(block * window))
        found[start : start + _BLOCK] = np.stack(
            [strength[:, a, b], strength[:, -a, b], strength[:, b, a], strength[:, -b, a]], axis=2
        )
    found /= np.linalg.norm(found, axis=(1, 2), keepdims=True)
    return found


def propose(thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int, int]]:
    """Propose the pairs of thumbnails that may show one field.

    Nearest neighbours by `spectra` in an order that no flip or turn changes, then by the spectra
    themselves. An image is proposed with its ten nearest at most.

    Args:
        thumbnails: (N, side, side); those without content are like no other.

    Yields:
        Two rows, the lower first, and the row of `MIRRORED` that takes the first near the
        second; in ascending order.
    """
    rows = np.flatnonzero([_has_content(thumbnail) for thumbnail in thumbnails])
    if len(rows) < 2:
        return
    described = spectra(thumbnails[rows])
    invariant = np.sort(described, axis=2).reshape(len(rows), -1)
    # A tree would be slower than the blocked matrix product in so many dimensions.
    index = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(rows) - 1), algorithm="brute")
    distance, near = index.fit(invariant).kneighbors()
    first, place = np.nonzero(distance <= _RADIUS)
    second = near[first, place]
    pairs = np.unique(np.sort(np.stack([first, second], axis=1), axis=1), axis=0)
    for start in range(0, len(pairs), 4 * _BLOCK):
        block = pairs[start : start + 4 * _BLOCK]
        one, other = described[block[:, 0]], described[block[:, 1]]
        apart = [np.linalg.norm(one[:, :, moved] - other, axis=(1, 2)) for moved in MIRRORED]
        for pair, view in np.argwhere(np.stack(apart, axis=1) <= _RADIUS):
            yield int(rows[block[pair, 0]]), int(rows[block[pair, 1]]), int(view)


def _has_content(thumbnail: NDArray[np.uint8]) -> bool:
    """Say whether more is there than light that falls off: that all empty fields share."""
    grey = thumbnail.astype(np.float32)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), len(grey) / 8)
    return bool(detail.std() > _CONTENT * grey.mean())


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
