"""Make the parts of a dataset (`split=`)."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from leukemia.data.files.manifest import Manifest
from leukemia.data.split.grouped import (
    BALANCE,
    STRATIFIED,
    VALIDATION,
    check_fractions,
    draw_images,
    share_out,
    stream,
)
from leukemia.data.split.groups import by_content, label_conflicts, leave_out_copies, whole_groups
from leukemia.data.split.parts import PARTS, Split, class_folder
from leukemia.errors import UserError, check_choice, check_count

_OTHER_DATA = (
    "split=paper needs the file numbers of the dataset of Aria et al.; "
    "for other data use split=stratified."
)

Range = tuple[int, int]
"""First and last file number, both inside."""


def paper_split(
    manifest: Manifest,
    identical: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    validation: str = "random",
    block_start: int = 301,
    train_numbers: Range = (1, 400),
    test_numbers: Range = (401, 500),
    n_val: int = 100,
) -> Split:
    """Split by file number, as the paper's published code did.

    In each class, ``train_numbers`` are for training and validation, ``test_numbers`` are the
    test part and other files are unused. Where a file has a copy in a later part (train, val,
    test), the copy in the earlier one is left out, and a note says so.

    Args:
        manifest: the N images; a file's number is the last run of digits before its suffix.
        identical: groups of identical files, (N,).
        n_classes: number of classes.
        seed: draws the validation images of ``random``.
        validation: ``random`` draws ``n_val`` images a class, whole groups at a time; ``block``
            takes the numbers from ``block_start`` on.
        block_start: first number of the block.
        train_numbers: numbers of training and validation.
        test_numbers: numbers of the test part.
        n_val: validation images a class; numbers in the block.

    Returns:
        The parts.

    Raises:
        UserError: a bad setting, a file without a number, or a class that a part would lack.
    """
    _check_validation(validation, block_start, n_val, train_numbers)
    numbers = [_file_number(file) for file in manifest.files]

    def within(first: int, last: int) -> NDArray[np.int64]:
        return np.array([r for r, n in enumerate(numbers) if first <= n <= last], dtype=np.int64)

    notes = label_conflicts(manifest)
    test, both = within(*test_numbers), within(*train_numbers)
    for label in range(n_classes):
        for rows, (first, last) in ((both, train_numbers), (test, test_numbers)):
            n = int((manifest.labels[rows] == label).sum())
            if n != last - first + 1:
                notes.append(
                    f"Class {class_folder(manifest, label)} has {n} files numbered {first} to "
                    f"{last}, not {last - first + 1}."
                )
    both, left_out = leave_out_copies(both, test, manifest, identical, "train and val", "test")
    notes += left_out
    if validation == "block":
        val = np.intersect1d(both, within(block_start, block_start + n_val - 1))
    else:
        val = _random_validation(manifest, identical, both, n_val, n_classes, seed)
    train = np.setdiff1d(both, val)
    train, left_out = leave_out_copies(train, val, manifest, identical, "train", "val")
    notes += left_out
    parts = {"train": train, "val": val, "test": test}
    for label in range(n_classes):
        n = int((manifest.labels[val] == label).sum())
        if n != n_val:
            notes.append(
                f"Class {class_folder(manifest, label)} has {n} validation images, not {n_val}."
            )
        for part in PARTS:
            if label not in manifest.labels[parts[part]]:
                raise UserError(
                    f"Class {class_folder(manifest, label)} has no file for part '{part}' "
                    f"(train and val: numbers {train_numbers[0]} to {train_numbers[1]}, "
                    f"test: {test_numbers[0]} to {test_numbers[1]}): {_OTHER_DATA}"
                )
    return Split(parts, identical, tuple(notes))


def _check_validation(validation: str, block_start: int, n_val: int, numbers: Range) -> None:
    first, last = numbers
    check_choice("split.validation", validation, ("random", "block"))
    check_count("split.n_val", n_val)
    if n_val > last - first:
        raise UserError(
            f"Expected split.n_val to be from 1 to {last - first}, but got {n_val}: "
            f"training needs some of the numbers {first} to {last}."
        )
    if validation == "block":
        check_count("split.block_start", block_start, least=first)
        if block_start > last - n_val + 1:
            raise UserError(
                f"Expected split.block_start to be from {first} to {last - n_val + 1}, so that "
                f"{n_val} numbers lie within {first} to {last}, but got {block_start}."
            )


def _file_number(file: str) -> int:
    digits = re.findall(r"\d+", PurePosixPath(file).stem)
    if not digits:
        raise UserError(f"'{file}' has no number in its name: {_OTHER_DATA}")
    return int(digits[-1])


def _random_validation(
    manifest: Manifest,
    groups: NDArray[np.int64],
    rows: NDArray[np.int64],
    n_val: int,
    n_classes: int,
    seed: int,
) -> NDArray[np.int64]:
    pools: list[list[list[int]]] = [[] for _ in range(n_classes)]
    for group in whole_groups(rows, groups, manifest):
        labels = set(manifest.labels[group].tolist())
        # Copies with different labels stay in train: in val they would count twice.
        if len(labels) == 1:
            pools[labels.pop()].append(group)
    drawn: list[int] = []
    for label, pool in enumerate(pools):
        drawn += draw_images(pool, n_val, stream(seed, VALIDATION, label))
    return np.array(sorted(drawn), dtype=np.int64)


def stratified_split(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
) -> Split:
    """Split every class at random in the same proportions, whole groups at a time.

    Args:
        manifest: the N images; their order does not matter.
        groups: group ids, (N,).
        n_classes: number of classes.
        seed: any integer from 0 on.
        fractions: of train, val and test.

    Returns:
        The parts; their union is the manifest.

    Raises:
        UserError: bad fractions, a class of fewer than three groups, or a group of different images
            that holds several classes.
    """
    check_fractions(fractions)
    pools: list[list[list[int]]] = [[] for _ in range(n_classes)]
    for group in whole_groups(range(len(manifest)), groups, manifest):
        labels = manifest.labels[group]
        # Copies of one image count in the first of their classes; a mixed group is due to none.
        if labels.min() < labels.max() and len({manifest.sha256[row] for row in group}) > 1:
            first, other = (manifest.files[group[i]] for i in (labels.argmin(), labels.argmax()))
            raise UserError(
                f"split=stratified draws from each class alone, but '{first}' and '{other}' are "
                f"in one group of {len(group)} images: use split=grouped."
            )
        pools[labels.min()].append(group)
    shares: list[list[int]] = [[] for _ in PARTS]
    for label, pool in enumerate(pools):
        if len(pool) < len(PARTS):
            raise UserError(
                f"Expected three or more different images (with data.groups: groups) in every "
                f"class, but class {class_folder(manifest, label)} has {len(pool)}: add images, or "
                f"leave the class out of data.classes.names."
            )
        drawn = share_out(pool, fractions, stream(seed, STRATIFIED, label))
        shares = [share + more for share, more in zip(shares, drawn, strict=True)]
    parts = {
        part: np.array(sorted(rows), dtype=np.int64)
        for part, rows in zip(PARTS, shares, strict=True)
    }
    return Split(parts, groups, tuple(label_conflicts(manifest)))


def balance(split: Split, manifest: Manifest, n_classes: int, seed: int) -> Split:
    """Keep equally many images of every class in each part, drawn at random.

    Args:
        split: the parts.
        manifest: the table whose rows they are.
        n_classes: number of classes.
        seed: any integer from 0 on.

    Returns:
        Parts that are subsets of the given ones; a note says how many images were left out.

    Raises:
        UserError: a part has no image of some class, so that none of the others could stay.
    """
    parts = {}
    for number, part in enumerate(PARTS):
        rows = split.parts[part]
        counts = np.bincount(manifest.labels[rows], minlength=n_classes)
        if counts.min() == 0:
            raise UserError(
                f"data.balance=true would leave nothing of part '{part}', which has no image of "
                f"class {class_folder(manifest, int(counts.argmin()))}: use data.balance=false."
            )
        kept: list[int] = []
        for label in range(n_classes):
            candidates = by_content(rows[manifest.labels[rows] == label], manifest)
            rng = stream(seed, BALANCE, number, label)
            kept += rng.permutation(candidates)[: counts.min()].tolist()
        parts[part] = np.array(sorted(kept), dtype=np.int64)
    dropped = {p: len(split.parts[p]) - len(parts[p]) for p in PARTS}
    note = f"data.balance left out {', '.join(f'{n} of {p}' for p, n in dropped.items())}."
    return replace(split, parts=parts, notes=(*split.notes, note))
