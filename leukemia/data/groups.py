"""Which images belong together and must stay on one side of a split."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leukemia.data.files import name_some
from leukemia.data.manifest import Manifest


def identical_groups(sha256: Sequence[str]) -> NDArray[np.int64]:
    """Group byte-identical files.

    Args:
        sha256: the hash of each of N files.

    Returns:
        A group id for each file, (N,), in [0, N); ids count up in order of first appearance.
    """
    ids: dict[str, int] = {}
    return np.array([ids.setdefault(digest, len(ids)) for digest in sha256], dtype=np.int64)


def by_content(rows: Sequence[int] | NDArray[np.int64], manifest: Manifest) -> list[int]:
    """Return rows ordered by hash and path, so that a draw from them ignores their numbers."""
    return sorted(map(int, rows), key=lambda row: (manifest.sha256[row], manifest.files[row]))


def whole_groups(
    rows: Sequence[int] | NDArray[np.int64], groups: NDArray[np.int64], manifest: Manifest
) -> list[list[int]]:
    """Return the rows of each group, groups and rows ordered as by `by_content`."""
    members: dict[int, list[int]] = {}
    for row in by_content(rows, manifest):
        members.setdefault(int(groups[row]), []).append(row)
    return list(members.values())


def leave_out_copies(
    rows: NDArray[np.int64],
    held_out: NDArray[np.int64],
    manifest: Manifest,
    groups: NDArray[np.int64],
    part: str,
    other: str,
) -> tuple[NDArray[np.int64], list[str]]:
    """Drop the rows whose group is held out.

    Args:
        rows: candidates.
        held_out: rows of another part.
        manifest: the table whose rows they are.
        groups: group ids, (N,).
        part: what a note calls the candidates.
        other: what it calls the part that is held out.

    Returns:
        The rows left, and notes that name those dropped.
    """
    held = {int(groups[row]): manifest.files[row] for row in held_out}
    copies = [
        f"'{manifest.files[row]}' (copy of '{held[int(groups[row])]}')"
        for row in rows
        if int(groups[row]) in held
    ]
    left = rows[~np.isin(groups[rows], list(held))]
    if not copies:
        return left, []
    note = f"Left out of {part} for their copies in {other}, {len(copies)}: {name_some(copies)}."
    return left, [note]


def label_conflicts(manifest: Manifest, groups: NDArray[np.int64]) -> list[str]:
    """Note groups whose images are not all of one class."""
    mixed = [
        " and ".join(f"'{manifest.files[row]}'" for row in group)
        for group in whole_groups(range(len(manifest)), groups, manifest)
        if len(set(manifest.labels[group].tolist())) > 1
    ]
    return [f"Copies with different labels: {name_some(mixed)}."] if mixed else []
