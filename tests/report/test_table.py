from pathlib import Path

import pytest

from leukemia.classes import Classes
from leukemia.measure.metrics import summarize
from leukemia.report.html import print_summary
from tests.report.samples import random_predictions, toy

LONG = Path("runs") / "[red] 2025-11-22" / "a-folder-name-that-goes-on" / "and-on" / "report.html"


@pytest.fixture
def printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def show(metrics, classes, paths=None, notes=()):
        print_summary(metrics, classes, paths or {}, notes)
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return show


def test_figures_of_both_parts_stand_in_80_columns(printed):
    metrics = {"val": summarize(random_predictions(80)), "test": summarize(random_predictions(120))}
    out = printed(metrics, Classes())
    assert max(map(len, out.splitlines())) <= 80
    rows = {line.split("  ")[1]: line for line in out.splitlines() if line.startswith("  ")}
    for key, label in (
        ("accuracy", "accuracy"),
        ("cancer_recall", "cancer sensitivity"),
        ("cancer_specificity", "cancer specificity"),
    ):
        for part in metrics.values():
            low, high = part["interval"][key]
            assert f"{part[key]:.3f} [{low:.3f}, {high:.3f}]" in rows[label]
    for name in Classes().names:
        assert rows[name].split() == [
            name,
            *(
                f"{part[kind][name]:.3f}"
                for part in metrics.values()
                for kind in ("precision", "recall", "f1")
            ),
        ]
    assert "\x1b" not in out


def test_a_path_is_never_broken_and_its_brackets_stay(printed):
    out = printed({"test": summarize(toy())}, toy().classes, {"report": LONG / ("x" * 60)})
    assert f"  report  {LONG / ('x' * 60)}\n" in out


def test_notes_are_printed(printed):
    out = printed({"test": summarize(toy())}, toy().classes, notes=["Painted smears: [no] blood."])
    assert "Note: Painted smears: [no] blood." in out


def test_undefined_figures_are_said_to_be(printed):
    metrics = summarize(toy())
    metrics["precision"]["B"] = None
    out = printed({"test": metrics}, toy().classes)
    assert "n/a" in out
    assert "None" not in out
