"""``trials.csv``: a row a trial."""

import csv
import io
from pathlib import Path
from typing import Any

from leukemia.atomic import write_text
from leukemia.report.study import Study
from leukemia.text import as_words


def write_trials(study: Study, path: Path) -> None:
    """Write one row a trial: number, status, settings, every figure of validation, seconds, error.

    Figures by class are named as in ``recall.Early``; intervals and the confusion matrix stay in
    the trial's metrics.json.
    """
    names = list(dict.fromkeys(name for trial in study.trials for name in _flat(trial.figures)))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "status", *study.varied, *names, "seconds", "error"])
    for trial in study.trials:
        figures = _flat(trial.figures)
        writer.writerow(
            [
                trial.number,
                trial.status,
                *map(as_words, trial.settings.values()),
                *(_text(figures.get(name)) for name in names),
                _text(trial.seconds),
                as_words(trial.error),
            ]
        )
    write_text(path, buffer.getvalue())


def _flat(figures: dict[str, Any]) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for name, value in figures.items():
        if isinstance(value, dict) and name != "interval":
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif value is None or _plain(value):
            flat[name] = value
    return flat


def _plain(value: object) -> bool:
    return isinstance(value, int | float)


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)
