"""Which images belong together and must stay on one side of a split."""

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leukemia.data.files.images import name_some
from leukemia.data.files.inputs import read_column
from leukemia.data.files.manifest import Manifest


def identical_groups(sha256: Sequence[str]) -> NDArray[np.int64]:
    """Group byte-identical files.

    Args:
        sha256: the hash of each of N files.

    Returns:
        A group id for each file, (N,), in [0, N); ids count up in order of first appearance.
    """
    return _numbered(sha256)


def related_groups(manifest: Manifest) -> NDArray[np.int64]:
    """Group images of one patient, as their names tell, and byte-identical ones.

    Args:
        manifest: the N images.

    Returns:
        A group id for each image, (N,); ids count up in order of first appearance. Where names
        tell no patient, as `identical_groups`.
    """
    if not manifest.related:
        return identical_groups(manifest.sha256)
    pairs = zip(manifest.related, manifest.files, strict=True)
    told = [("patient", patient) if patient else ("alone", file) for patient, file in pairs]
    return _joined(_numbered(told), manifest)


def join_groups(manifest: Manifest, path: Path) -> NDArray[np.int64]:
    """Group images that a table puts together, or that are byte-identical.

    What is together through a third image is together: groups of the table that hold copies of
    one file become one group.

    Args:
        manifest: the N images.
        path: a CSV table with the columns ``file`` and ``group`` (`data.groups`), such as patient
            ids or the audit's groups.csv.

    Returns:
        A group id for each image, (N,); ids count up in order of first appearance.

    Raises:
        UserError: a table that `read_column` refuses, or that does not list every image.
    """
    return _joined(_numbered(read_column(path, "group", manifest, setting="data.groups")), manifest)


def _joined(listed: NDArray[np.int64], manifest: Manifest) -> NDArray[np.int64]:
    """Join groups, (N,), that hold copies of one file."""
    identical = identical_groups(manifest.sha256)
    # Each image links a group of its own with one of identical files.
    n = len(manifest)
    joined = connected(np.stack([listed, n + identical], axis=1), 2 * n)
    return _numbered(joined[listed].tolist())


def connected(links: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Group what is linked, also through others.

    Args:
        links: pairs of numbers below ``n``, (L, 2).
        n: how many things there are.

    Returns:
        A group id for each, (n,), in [0, n); ids count up in order of first appearance.
    """
    graph = coo_array((np.ones(len(links)), tuple(links.T)), shape=(n, n))
    return _numbered(connected_components(graph, directed=False)[1].tolist())


def _numbered(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    ids: dict[Hashable, int] = {}
    return np.array([ids.setdefault(key, len(ids)) for key in keys], dtype=np.int64)


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


def label_conflicts(manifest: Manifest) -> list[str]:
    """Note identical files that are not all of one class."""
    groups = identical_groups(manifest.sha256)
    mixed = [
        " and ".join(f"'{manifest.files[row]}'" for row in group)
        for group in whole_groups(range(len(manifest)), groups, manifest)
        if len(set(manifest.labels[group].tolist())) > 1
    ]
    return [f"Copies with different labels: {name_some(mixed)}."] if mixed else []
