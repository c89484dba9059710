"""Splits that keep related images together and still balance the classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leukemia.data.assign import assign_groups
from leukemia.data.draw import FOLDS, GROUPED, check_fractions, shares_apart, stream
from leukemia.data.groups import label_conflicts, whole_groups
from leukemia.data.manifest import Manifest
from leukemia.data.parts import PARTS, Split, class_folder
from leukemia.errors import UserError

_EXACT = 1e-9  # a smaller difference is one of rounding
_WORTH_A_NOTE = 0.02  # summed over classes, as `Assignment.imbalance`

_REMEDY = (
    "make smaller groups, take fewer folds, add images, or leave the class out of "
    "data.classes.names."
)


def grouped_split(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
) -> Split:
    """Split by whole groups, with every class as near to its fractions as can be.

    Args:
        manifest: the N images; their order does not matter.
        groups: group ids, (N,); a group may hold several classes.
        n_classes: number of classes.
        seed: any integer from 0 on; chooses among splits that are nearly equal.
        fractions: of train, val and test.

    Returns:
        The parts; their union is the manifest. A note tells the balance reached.

    Raises:
        UserError: bad fractions, or no such split has every class in every part.
    """
    check_fractions(fractions)
    shares, note = _share_out(manifest, groups, n_classes, fractions, PARTS, stream(seed, GROUPED))
    parts = dict(zip(PARTS, shares, strict=True))
    return Split(parts, groups, (*label_conflicts(manifest), note))


def kfold_split(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    folds: int = 5,
    fold: int = 0,
) -> Split:
    """Divide whole groups into folds alike in their classes: one is test, the next validation.

    Args:
        manifest: the N images; their order does not matter.
        groups: group ids, (N,); a group may hold several classes.
        n_classes: number of classes.
        seed: any integer from 0 on; the folds are the same for every ``fold``.
        folds: how many, 3 or more.
        fold: which one is the test part, from 0; validation is the next one, or the first.

    Returns:
        The parts; their union is the manifest, and that of all folds' test parts is too.

    Raises:
        UserError: a bad setting, or no such folds have every class in every fold.
    """
    if not isinstance(folds, int) or folds < 3:
        raise UserError(
            f"Expected split.folds to be 3 or more (train, val and test), but got {folds}."
        )
    if not isinstance(fold, int) or not 0 <= fold < folds:
        raise UserError(f"Expected split.fold to be from 0 to {folds - 1}, but got {fold}.")
    names = [f"fold {number}" for number in range(folds)]
    shares, note = _share_out(
        manifest, groups, n_classes, [1 / folds] * folds, names, stream(seed, FOLDS)
    )
    test, val = shares[fold], shares[(fold + 1) % folds]
    train = np.setdiff1d(np.arange(len(manifest)), np.concatenate([test, val]))
    parts = {"train": train, "val": val, "test": test}
    return Split(parts, groups, (*label_conflicts(manifest), note))


def _share_out(
    manifest: Manifest,
    groups: NDArray[np.int64],
    n_classes: int,
    fractions: Sequence[float],
    names: Sequence[str],
    rng: np.random.Generator,
) -> tuple[list[NDArray[np.int64]], str]:
    """Return the rows of each share, and a note of the balance reached."""
    members = whole_groups(range(len(manifest)), groups, manifest)
    counts = np.array(
        [np.bincount(manifest.labels[group], minlength=n_classes) for group in members]
    )
    for label, n_groups in enumerate((counts > 0).sum(axis=0)):
        if n_groups < len(names):
            raise UserError(
                f"Expected images of every class in {len(names)} or more groups, one each for "
                f"{', '.join(names)}, but class {class_folder(manifest, label)} lies in "
                f"{n_groups}: {_REMEDY}"
            )
    found = assign_groups(counts, fractions, rng)
    if found is None:
        raise UserError(
            f"Found no way to keep {len(members)} groups whole and have every class in "
            f"{', '.join(names)}: {_REMEDY}"
        )
    shares = [
        np.array(sorted(row for g in np.flatnonzero(found.share_of == share) for row in members[g]))
        for share in range(len(names))
    ]
    images = np.array([counts[found.share_of == share].sum(axis=0) for share in range(len(names))])
    off = images / counts.sum(axis=0) - np.asarray(fractions)[:, None]
    share, label = np.unravel_index(np.abs(off).argmax(), off.shape)
    by_class = "; ".join(
        f"{class_folder(manifest, label)} {' / '.join(map(str, images[:, label]))}"
        for label in range(n_classes)
    )
    note = f"Images in {' / '.join(names)}, {len(members)} groups kept whole: {by_class}. "
    if abs(off[share, label]) < _EXACT:
        note += "Every part holds its due of every class."
    else:
        held, due = shares_apart(off[share, label] + fractions[share], fractions[share])
        note += (
            f"Furthest from its due: {names[share]} holds {held} of class "
            f"{class_folder(manifest, int(label))}, not {due}."
        )
    if found.imbalance - found.at_least > _WORTH_A_NOTE:
        note += (
            " A better balance was not ruled out: summed over classes, the largest differences "
            f"are {100 * found.imbalance:.1f} points, at best {100 * found.at_least:.1f}."
        )
    return shares, note
