"""The guard: parts from which a test figure could not be believed are refused."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final

from leukemia.data.files import name_some
from leukemia.data.manifest import Manifest
from leukemia.data.parts import PARTS, Split, class_folder
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
