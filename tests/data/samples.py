"""Folders and manifests without images, and what is true of any split of them."""

import itertools
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from leukemia.data.files.manifest import Manifest
from leukemia.data.split.parts import PARTS, Split

FOLDERS = ("Benign", "Early", "Pre")


def folder(root: Path, *files: str) -> Path:
    """Files of these names that hold nothing of use."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def table(*rows: tuple[int, int, str]) -> Manifest:
    """A manifest from (label, file number, content)."""
    return Manifest(
        files=tuple(f"{FOLDERS[label]}/WBC-2-{number:03d}.png" for label, number, _ in rows),
        labels=np.array([label for label, _, _ in rows], dtype=np.int64),
        sizes=np.ones((len(rows), 2), dtype=np.int64),
        sha256=tuple(content for _, _, content in rows),
    )


def numbered(n: int, copies: dict[tuple[int, int], tuple[int, int]] | None = None) -> Manifest:
    """Two classes with files 1 to n; `copies` maps (label, number) to the file it repeats."""
    names = [(label, number) for label in (0, 1) for number in range(1, n + 1)]
    return table(*[(*name, str((copies or {}).get(name, name))) for name in names])


def by_file(manifest: Manifest, split: Split) -> dict[str, str]:
    return {manifest.files[row]: part for part in PARTS for row in split.parts[part]}


def numbers(manifest: Manifest, split: Split, part: str, label: int) -> list[int]:
    """The file numbers of a class in a part."""
    return [
        int(manifest.files[row][-7:-4])
        for row in split.parts[part]
        if manifest.labels[row] == label
    ]


def assert_disjoint(manifest: Manifest, split: Split) -> None:
    """No file, hash or group in two parts; an implementation apart from `check_split`."""
    for one, other in itertools.combinations(PARTS, 2):
        a, b = split.parts[one], split.parts[other]
        assert not set(a) & set(b)
        assert not {manifest.sha256[row] for row in a} & {manifest.sha256[row] for row in b}
        assert not set(split.groups[a]) & set(split.groups[b])
    for part in PARTS:
        rows = split.parts[part]
        assert rows.dtype == np.int64
        assert rows.tolist() == sorted(set(rows.tolist()))


def counts(manifest: Manifest, split: Split) -> dict[str, list[int]]:
    return {p: np.bincount(manifest.labels[split.parts[p]], minlength=2).tolist() for p in PARTS}


def imbalance(counts: np.ndarray, fractions: list[float]) -> float:
    """Over all classes, the sum of the largest difference from what is due to a share.

    Args:
        counts: images, (shares, classes).
        fractions: due to each share.
    """
    held = counts / counts.sum(axis=0)
    return float(np.abs(held - np.array(fractions)[:, None]).max(axis=0).sum())


OWN = (1, 2, 3, 401, 402)
OTHERS = [*range(4, 12), *range(403, 409), *range(501, 505)]


@st.composite
def related_images(draw: st.DrawFn, *, mixed: bool = True) -> tuple[Manifest, list[str]]:
    """Images of two classes, numbered as split=paper needs, with copies, and a name for the group
    of each. Of each class the images `OWN` are no copies and alone in their groups. `mixed`: copies
    and groups may hold both classes."""
    rows, names = [], []
    for label in (0, 1):
        shared = "" if mixed else label
        rows += [(label, number, f"own {label} {number}") for number in OWN]
        names += [f"alone {label} {number}" for number in OWN]
        for number in draw(st.lists(st.sampled_from(OTHERS), unique=True)):
            rows.append((label, number, f"{draw(st.integers(0, 15))} {shared}"))
            names.append(f"group {draw(st.integers(0, 9))} {shared}")
    order = draw(st.permutations(range(len(rows))))
    return table(*[rows[i] for i in order]), [names[i] for i in order]
