"""Parallel coordinates: every trial of a search as a line through its settings."""

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from leukemia.report.figures import STYLE
from leukemia.report.study import DONE, Study, number, values

_DECADES = 10.0  # a setting whose values span more is drawn on a logarithmic axis


@mpl.rc_context(STYLE)
def parallel(study: Study) -> Figure:
    """An axis a setting and one for the rule's figure; the winner's line is thick and dashed.

    Args:
        study: with a finished trial; those that were pruned have no figure and are left out.
    """
    trials, metric = study.with_status(DONE), study.rule.metric
    keys = study.varied
    figures = np.array(values(trials, metric))
    columns = [_scaled([trial.settings[key] for trial in trials]) for key in keys]
    columns.append(_scaled([f"{value:.4g}" for value in figures]))
    colours = ScalarMappable(Normalize(np.nanmin(figures), np.nanmax(figures)), "cividis")
    figure = Figure(figsize=(1.5 + 1.7 * len(columns), 4.6), layout="constrained")
    axes = figure.subplots()
    best = study.winner()[0].number
    for place, trial in enumerate(trials):
        if np.isnan(figures[place]):
            continue
        axes.plot(
            [column[0][place] for column in columns],
            color=colours.to_rgba(figures[place]),
            lw=3.5 if trial.number == best else 1.2,
            ls="--" if trial.number == best else "-",
            zorder=3 if trial.number == best else 2,
            gid=f"trial {trial.number}",
        )
    for place, (_, ticks) in enumerate(columns):
        axes.axvline(place, color="k", lw=1)
        for height, text in ticks:
            axes.annotate(
                text, (place, height), (4, 0), textcoords="offset points", fontsize=8, va="center",
                bbox={"boxstyle": "round,pad=0.1", "fc": "w", "ec": "none", "alpha": 0.75},
            )  # fmt: skip
    axes.set_xticks(range(len(columns)), [_name(key) for key in [*keys, metric]])
    axes.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.2, len(columns) - 0.5))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(colours, ax=axes, label=f"{metric} on validation", pad=0.02)
    return figure


def _scaled(texts: list[str]) -> tuple[NDArray[np.float64], list[tuple[float, str]]]:
    """Return heights in [0, 1], and ticks as (height, text); words are spread evenly."""
    found = [number(text) for text in texts]
    if None in found:
        names = sorted(set(texts))
        step = max(1, len(names) - 1)
        ticks = [(i / step, name) for i, name in enumerate(names)]
        return np.array([names.index(text) / step for text in texts]), ticks
    numbers = np.array(found, dtype=float)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    if low == high:
        return np.full(len(texts), 0.5), [(0.5, f"{low:.3g}")]
    log = low > 0 and high / low > _DECADES
    marks = np.geomspace(low, high, 4) if log else np.linspace(low, high, 4)
    heights = np.log(numbers / low) / np.log(high / low) if log else (numbers - low) / (high - low)
    return heights, [(i / 3, f"{mark:.3g}") for i, mark in enumerate(marks)]


def _name(key: str) -> str:
    parts = key.split(".")
    return "\n".join([".".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else key
