"""How far a run answers TRIPOD+AI and CLAIM 2024, item by item.

The items stand in `checklist.toml`. An item counts as filled only by what every run writes, or
by what this one is known to hold.
"""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from leukemia.report.findings import Findings

STATUSES = ("filled", "partly", "unmet", "not applicable")


@dataclass(frozen=True)
class Answer:
    """What a run says to one item.

    Args:
        id: the guideline's number of the item, such as `12a`.
        topic: what it asks for, paraphrased.
        status: one of `STATUSES`.
        told: where it is answered, or why it is not.
    """

    id: str
    topic: str
    status: str
    told: str


@dataclass(frozen=True)
class Guideline:
    """A guideline and the answers of a run.

    Args:
        name: such as `CLAIM 2024`.
        source: authors, year and DOI.
        answers: one an item, in its order.
    """

    name: str
    source: str
    answers: tuple[Answer, ...]


def known_of(found: Findings) -> set[str]:
    """What a run is known to hold, of what items may need."""
    source, fitted = found.data and found.data.source, found.calibration
    known = {
        "test": "test" in found.metrics,
        "aria": source == "aria",
        "images": source not in (None, "embeddings"),
        "calibration": fitted is not None,
        "operating": fitted is not None and fitted.threshold is not None and bool(found.judged),
        "plain": not found.classes.has_cancer,
        "maps": any(found.attention.values()),
    }
    return {name for name, holds in known.items() if holds}


def answer_all(known: Collection[str]) -> list[Guideline]:
    """Every item of both guidelines, answered.

    Args:
        known: what the run holds, see `known_of`.
    """
    return [
        Guideline(
            entry["name"], entry["source"], tuple(_answer(item, known) for item in entry["item"])
        )
        for entry in _read()
    ]


def _answer(item: dict[str, str], known: Collection[str]) -> Answer:
    if "na" in item:
        status, told = "not applicable", item["na"]
    elif "filled" not in item or ("needs" in item and item["needs"] not in known):
        status, told = "unmet", item["unmet"]
    else:
        # Of a run without a benign class, the same without what speaks of cancer.
        said = item["plain"] if "plain" in item and "plain" in known else item["filled"]
        status = "partly" if "lacks" in item else "filled"
        told = f"{said}. Lacking: {item['lacks']}" if "lacks" in item else said
    return Answer(item["id"], item["topic"], status, told)


@cache
def _read() -> list[dict[str, Any]]:
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    guidelines: list[dict[str, Any]] = tomllib.loads(text)["guideline"]
    return guidelines
