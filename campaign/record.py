"""What a part of the campaign did and found: one row a case, and how often it went how."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from leukemia.atomic import write_text

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
    """

    name: str
    claim: str
    cases: Sequence[Case]
    figures: dict[str, object] = field(default_factory=dict)

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
        counts = Counter((case.kind, case.verdict) for case in self.cases)
        kinds = dict.fromkeys(case.kind for case in self.cases)
        return {
            "claim": self.claim,
            "cases": len(self.cases),
            "failed": len(self.failed),
            "kinds": {
                kind: {"cases": counts[kind, OK] + counts[kind, FAILED]}
                | {"failed": counts[kind, FAILED]}
                for kind in kinds
            },
            **self.figures,
        }


def _plain(value: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in value)[:500]
