"""Which thumbnails may show one field: by what flips, turns and small shifts leave of them."""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

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
