"""What a part of the campaign did and found: one row a case, and how often it went how."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from leukemia.disk import write_text

OK, FAILED = "ok", "FAILED"


@dataclass(frozen=True)
class Case:
    """One fault.

    Args:
        kind: by which cases are counted.
        case: its name, with which it can be found again.
        done: what was done.
        happened: what came of it.
        verdict: ``ok`` or ``FAILED``.
    """

    kind: str
    case: str
    done: str
    happened: str
    verdict: str


@dataclass(frozen=True)
class Part:
    """The cases of a part.

    Args:
        name: of its table.
        claim: what each case shall show.
        cases: in order.
        figures: what else was measured.
        passed: how many more cases showed it that are not listed one by one, by kind.
    """

    name: str
    claim: str
    cases: Sequence[Case]
    figures: dict[str, object] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many cases there were."""
        return len(self.cases) + sum(self.passed.values())

    @property
    def failed(self) -> list[Case]:
        """The cases that do not show it."""
        return [case for case in self.cases if case.verdict != OK]

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv``."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow([column.name for column in fields(Case)])
        table.writerows([_plain(value) for value in astuple(case)] for case in self.cases)
        write_text(folder / f"{self.name}.csv", out.getvalue())

    def to_dict(self) -> dict[str, object]:
        """Return what a page about the campaign needs, plain values."""
        failed = Counter(case.kind for case in self.failed)
        cases = Counter(self.passed) + Counter(case.kind for case in self.cases)
        return {
            "claim": self.claim,
            "cases": self.count,
            "failed": len(self.failed),
            "kinds": {kind: {"cases": n, "failed": failed[kind]} for kind, n in cases.items()},
            **self.figures,
        }


def page(parts: Sequence[Part], seconds: Mapping[str, float], where: str) -> str:
    """Return what came of all parts, in Markdown.

    Args:
        parts: those that were run.
        seconds: that each took.
        where: seed and hardware.
    """
    lines = ["| what | cases | failed | minutes | each |", "| --- | --- | --- | --- | --- |"]
    for part in parts:
        minutes = seconds[part.name] / 60
        row = (part.name, part.count, len(part.failed), f"{minutes:.1f}", part.claim)
        lines.append(f"| {' | '.join(map(str, row))} |")
    lines += ["", where, "", "| what | kind | cases | failed |", "| --- | --- | --- | --- |"]
    for part in parts:
        cases = Counter(part.passed) + Counter(case.kind for case in part.cases)
        failed = Counter(case.kind for case in part.failed)
        lines += [f"| {part.name} | {kind} | {n} | {failed[kind]} |" for kind, n in cases.items()]
    return "\n".join(lines) + "\n"


def _plain(value: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in value)[:500]
