"""What an audit found of a dataset, for its page and for `audit.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukemia.audit.floors import Floor, by_feature
from leukemia.classes import Classes

FORMAT = 1  # of audit.json; raise it when a key changes its meaning

_PURE = 0.9  # share of one class from which on a group tells the class


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What is known of N images.

    Args:
        name: the dataset's name in the settings, such as `aria`.
        fingerprint: `Manifest.fingerprint`.
        classes: the class scheme.
        files: N relative paths.
        labels: (N,).
        pairs: duplicates: `first`, `second` (rows), `kind` (identical, near), `transform`,
            `correlation`, `shift`.
        groups: acquisition group of each image from 0, (N,).
        own_groups: whether the user named other groups, which the floors then keep whole.
        bars: style of each image's scale bar.
        measured: by name of a measure, such as `blur`, of each image, (N,).
        unfit: by what is wrong, rows of images that somebody should look at.
        floors: what features without shape reach.
        skipped: unreadable files, and why.
        notes: what a reader must know, one sentence each.
        settings: of the audit.
    """

    name: str
    fingerprint: str
    classes: Classes
    files: Sequence[str]
    labels: NDArray[np.int64]
    pairs: Sequence[Mapping[str, Any]]
    groups: NDArray[np.int64]
    own_groups: bool
    bars: Sequence[str]
    measured: Mapping[str, NDArray[np.float64]]
    unfit: Mapping[str, Sequence[int]]
    floors: Sequence[Floor]
    skipped: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def crosses(self, pair: Mapping[str, Any]) -> bool:
        """Whether a pair's images are of two classes: a label is wrong."""
        return bool(self.labels[pair["first"]] != self.labels[pair["second"]])

    def ordered_pairs(self) -> list[Mapping[str, Any]]:
        """The pairs, those across classes first, then identical ones, then by correlation."""
        return sorted(
            self.pairs,
            key=lambda p: (not self.crosses(p), p["kind"] != "identical", -p["correlation"]),
        )

    def group_table(self) -> NDArray[np.int64]:
        """Images of each class in each group, (G, C)."""
        table = np.zeros((int(self.groups.max()) + 1, len(self.classes)), np.int64)
        np.add.at(table, (self.groups, self.labels), 1)
        return table

    def bars_of(self, group: int) -> str:
        """The scale bars of a group, the most common first."""
        return _counted([self.bars[row] for row in np.flatnonzero(self.groups == group).tolist()])

    def findings(self) -> list[str]:
        """What matters, one sentence each, the worst first."""
        return [*self._labels(), *self._shortcuts(), *self._groups(), *self._copies(), *self._fit()]

    def _labels(self) -> list[str]:
        wrong = sum(map(self.crosses, self.pairs))
        if not wrong:
            return []
        return [f"{_pairs(wrong)} of duplicates with two labels, of which one is wrong."]

    def _shortcuts(self) -> list[str]:
        lines = []
        for name, floors in by_feature(self.floors).items():
            if any(floor.above_chance for floor in floors):
                reached = ", ".join(f"{f.accuracy:.3f} ({f.protocol})" for f in floors)
                told = max(floors, key=lambda floor: floor.n)
                lines.append(
                    f"Shortcut: {name} alone reaches an accuracy of {reached}; it tells "
                    f"{told.given_away} from the rest with a balanced accuracy of "
                    f"{told.balanced:.3f} ({told.protocol})."
                )
        return lines

    def _groups(self) -> list[str]:
        table = self.group_table()
        pure = table.max(axis=1) >= _PURE * table.sum(axis=1)
        line = f"{len(table)} acquisition groups were found"
        if len(table) > 1:
            share = table[pure].sum() / table.sum()
            line += (
                f"; {share:.0%} of the images are in groups of which one class holds "
                f"{_PURE:.0%} or more"
            )
        return [f"{line}."]

    def _copies(self) -> list[str]:
        kinds = [pair["kind"] for pair in self.pairs]
        return [
            f"{_pairs(kinds.count(kind))} of {said}."
            for kind, said in (("identical", "identical files"), ("near", "near-duplicates"))
            if kind in kinds
        ]

    def _fit(self) -> list[str]:
        lines = [f"{what.capitalize()}: {len(rows)}." for what, rows in self.unfit.items() if rows]
        if self.skipped:
            lines.append(f"Unreadable and left out: {len(self.skipped)}.")
        return lines

    def to_json(self) -> dict[str, Any]:
        """The content of `audit.json`; files are named by their paths."""
        names, files = self.classes.names, self.files
        return {
            "format": FORMAT,
            "data": {
                "name": self.name,
                "fingerprint": self.fingerprint,
                "images": len(files),
                "classes": dict(
                    zip(names, np.bincount(self.labels, minlength=len(names)).tolist(), strict=True)
                ),
                "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
            },
            "settings": self.settings,
            "findings": self.findings(),
            "notes": list(self.notes),
            "floors": [asdict(floor) for floor in self.floors],
            "groups": [
                {
                    "group": group + 1,
                    "images": int(counts.sum()),
                    "classes": dict(zip(names, counts.tolist(), strict=True)),
                    "scale_bars": self.bars_of(group),
                }
                for group, counts in enumerate(self.group_table())
            ],
            "duplicates": [
                {
                    **pair,
                    "first": files[pair["first"]],
                    "second": files[pair["second"]],
                    "across_classes": self.crosses(pair),
                }
                for pair in self.ordered_pairs()
            ],
            "health": {
                "scale_bars": {
                    name: _counted(
                        [self.bars[row] for row in np.flatnonzero(self.labels == label).tolist()]
                    )
                    for label, name in enumerate(names)
                },
                "measured": {
                    name: dict(
                        zip(
                            ("min", "5%", "median", "95%", "max"),
                            np.round(np.quantile(values, (0, 0.05, 0.5, 0.95, 1)), 4).tolist(),
                            strict=True,
                        )
                    )
                    for name, values in self.measured.items()
                },
                "unfit": {what: [files[row] for row in rows] for what, rows in self.unfit.items()},
            },
        }


def _pairs(n: int) -> str:
    return f"{n} pair{'s' * (n != 1)}"


def _counted(words: Sequence[str]) -> str:
    counts = {word: list(words).count(word) for word in sorted(set(words))}
    return ", ".join(f"{word} {n}" for word, n in sorted(counts.items(), key=lambda item: -item[1]))
