"""Where the figures come from: images, settings, software."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from leukemia.report.findings import Findings
from leukemia.report.page import table


def data(found: Findings) -> Iterator[str]:
    """Which images were used, where that is known."""
    facts = found.data
    if facts is None:
        return
    names = list(dict.fromkeys(name for count in facts.counts.values() for name in count))
    rows = [
        [part, *(str(count.get(name, 0)) for name in names), str(sum(count.values()))]
        for part, count in facts.counts.items()
    ]
    yield "<h2>Data</h2>"
    yield table("Images by part and class", ["part", *names, "all"], rows)
    yield table(
        "Origin",
        ["what", "value"],
        [
            ["dataset", facts.source],
            ["split", facts.split],
            ["no two parts share", facts.disjoint],
            ["unreadable files left out", str(facts.skipped)],
            ["fingerprint (SHA-256 over files, labels and contents)", facts.fingerprint],
        ],
    )


def settings(found: Findings) -> Iterator[str]:
    """The exact config and the environment."""
    yield "<h2>Configuration</h2>"
    yield f"<pre>{escape(found.config_yaml)}</pre>"
    yield "<h2>Environment</h2>"
    yield table("Software and hardware", ["what", "value"], _flatten(found.environment))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append([f"{prefix}{key}", str(value)])
    return rows
