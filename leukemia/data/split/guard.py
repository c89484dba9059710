"""The guard: parts from which a test figure could not be believed are refused."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.files.images import name_some
from leukemia.data.files.manifest import Manifest
from leukemia.data.split.parts import PARTS, Split, class_folder
from leukemia.errors import UserError

_TOLERATED: Final = {
    "paper": (
        {"group"},
        "RELATED IMAGES",
        "split=paper takes file numbers as published, whatever belongs together; compare with "
        "split=grouped",
    ),
    "leaky": (
        {"sha256", "group"},
        "LEAKY SPLIT",
        "it is there to measure what pooling augmented views does, and its figures are no results",
    ),
}
"""Protocol -> what its parts may share, how the warning begins, and what it adds."""


def check_split(split: Split, manifest: Manifest) -> Split:
    """Refuse a split that leaks, or warn where its protocol leaks by nature.

    Args:
        split: the parts; their `protocol` decides what is tolerated.
        manifest: the table whose rows they are.

    Returns:
        The split, with a warning where groups cross its parts and may.

    Raises:
        UserError: parts share a file, a sha256 or a group (pairs are named), a part is empty,
            or train lacks a class of the manifest.
    """
    may_share, head, reason = _TOLERATED.get(split.protocol, (set(), "", ""))
    warnings = []
    groups = split.groups.tolist()
    for what, keys in (("file", manifest.files), ("sha256", manifest.sha256), ("group", groups)):
        pairs = _shared(split, manifest, keys)
        if pairs and what not in may_share:
            raise UserError(
                f"Expected parts that share no {what}, but {len(pairs)} are shared: "
                f"{name_some(pairs)}. Make the split anew."
            )
        if pairs and what == "group":
            crossing, n_pairs = _crossing(split)
            warnings.append(
                f"{head}: {crossing} groups of related images lie in more than one part "
                f"({n_pairs} pairs, such as {name_some(pairs, 3)}): {reason}."
            )
    for part in PARTS:
        if len(split.parts[part]) == 0:
            raise UserError(f"Expected images in every part, but '{part}' is empty.")
    lacking = set(manifest.labels.tolist()) - set(manifest.labels[split.parts["train"]].tolist())
    if lacking:
        folders = [class_folder(manifest, label) for label in sorted(lacking)]
        raise UserError(
            f"Expected every class in part 'train', but it has no image of {', '.join(folders)}."
        )
    return replace(split, warnings=tuple(warnings))


def _shared(split: Split, manifest: Manifest, keys: Sequence[Hashable]) -> list[str]:
    """Name each row whose key an earlier part holds, with the row that holds it."""
    first: dict[Hashable, tuple[str, int]] = {}
    pairs = []
    for part in PARTS:
        for row in split.parts[part]:
            other, other_row = first.setdefault(keys[row], (part, row))
            if other != part:
                pairs.append(
                    f"'{manifest.files[other_row]}' ({other}) and '{manifest.files[row]}' ({part})"
                )
    return pairs


def _crossing(split: Split) -> tuple[int, int]:
    """Count the groups that lie in several parts, and their pairs of rows across parts."""
    by_part = [Counter(split.groups[split.parts[part]].tolist()) for part in PARTS]
    groups = n_pairs = 0
    for group in set().union(*by_part):
        counts = [part[group] for part in by_part]
        # Every pair, less those inside one part.
        across = (sum(counts) ** 2 - sum(n * n for n in counts)) // 2
        groups += across > 0
        n_pairs += across
    return groups, n_pairs


SIDE = 32  # pixels of a thumbnail
# Correlation of two thumbnails from which on they show the same field. Of the Aria data's files
# 401-500, masked, none is above 0.62 with any of 001-400, and a copy saved again at JPEG quality
# 50, the worst of 120, keeps 0.78.
SAME = 0.75
_BLOCK = 512  # rows at once; bounds the memory at a few times 512 x N numbers


def thumbnails(pixels: Iterable[NDArray[np.uint8]], *, side: int = SIDE) -> NDArray[np.uint8]:
    """Shrink images to grey thumbnails.

    Args:
        pixels: N images (H, W, 3), RGB; other shapes than squares are squashed.
        side: of a thumbnail, pixels.

    Returns:
        (N, side, side).
    """
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pixels)
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in grey]
    return np.array(small, dtype=np.uint8).reshape(-1, side, side)


def shared_images(
    ours: NDArray[np.uint8], theirs: NDArray[np.uint8], *, same: float = SAME
) -> list[tuple[int, int]]:
    """Find the thumbnails of one collection that another one holds too.

    Compared by correlation under the eight flips and quarter turns. A thumbnail of one grey
    value (an empty field, all masked) is like any other such and is passed over.

    Args:
        ours: (N, 32, 32).
        theirs: (M, 32, 32).
        same: correlation in (0, 1] from which on two thumbnails count as one image.

    Returns:
        For each of `ours` that is found: its row and that of its nearest in `theirs`.
    """
    if not len(theirs):
        return []
    other = _standardized(theirs).T
    pairs = []
    for start in range(0, len(ours), _BLOCK):
        block = ours[start : start + _BLOCK]
        sides = (block, block[:, :, ::-1])
        views = [np.rot90(side, turn, (1, 2)) for side in sides for turn in range(4)]
        best = np.max([_standardized(view) @ other for view in views], axis=0)
        nearest = best.argmax(axis=1)
        found = np.flatnonzero(best[np.arange(len(block)), nearest] >= same)
        pairs += [(start + int(i), int(nearest[i])) for i in found]
    return pairs


def _standardized(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    standardized: NDArray[np.float32] = np.divide(rows, norms, out=rows, where=norms > 0)
    return standardized
