"""Figures of a study: bars by setting, a heat map of two settings, learning curves."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from leukemia.measure.intervals import shown
from leukemia.report.curves import read_history
from leukemia.report.figures import BLUE, GREEN, GREY, ORANGE, STYLE
from leukemia.runs.directory import RunDir
from leukemia.study.record import (
    DONE,
    HIGHER_IS_BETTER,
    REPEATED,
    Study,
    Trial,
    having,
    mean,
    number,
    seed_interval,
    values,
)

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


_LINES = tuple((c, line) for line in ("-", "--", ":") for c in (BLUE, ORANGE, GREEN, GREY))
_TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "cancer_recall": "Cancer sensitivity",
    "cancer_specificity": "Cancer specificity",
    "nll": "Negative log-likelihood",
}
MOST_BARS = 40
_LEAST_SPAN = 0.1  # of a heat map's colours: what chance moves shall not look like a cliff


def draw(study: Study) -> dict[str, Figure]:
    """The figures that a study's finished trials allow, by name.

    A search has parallel coordinates; all others bars, and the heat map or the curves as
    ``study.chart`` says. Nothing is drawn before a trial is done.
    """
    groups = study.settings()
    if not groups:
        return {}
    if study.chart == "search":
        return {"search": parallel(study)}
    figures = {"bars": bars(study)}
    if study.chart == "heatmap" and len(_axes_of(study)) >= 2:
        figures["heatmap"] = heatmap(study)
    if study.chart == "curves":
        figures["curves"] = curves(study)
    return figures


@mpl.rc_context(STYLE)
def bars(study: Study) -> Figure:
    """The rule's figure and the two cancer figures, if any: a bar a setting, a dot a seed.

    Whiskers are Student's 95% interval of the mean over seeds. Of more than 40 settings the
    best 40 are drawn.
    """
    groups = study.settings()
    if len(groups) > MOST_BARS:
        groups = sorted(study.ranked()[:MOST_BARS], key=lambda group: group[0].number)
    metrics = panel_metrics(study)
    height = 1.1 + 0.3 * len(groups)
    figure = Figure(figsize=(4.0 * len(metrics) + 1.5, height), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    places = np.arange(len(groups))
    for axes, metric in zip(panels, metrics, strict=True):
        means = [mean(group, metric) for group in groups]
        axes.barh(places, means, 0.7, color=BLUE, alpha=0.35, edgecolor=BLUE)
        for place, group, centre in zip(places, groups, means, strict=True):
            axes.plot(values(group, metric), [place] * len(group), "o", ms=3, c=ORANGE, alpha=0.8)
            interval = seed_interval(group, metric)
            if interval is not None:
                axes.hlines(place, *interval, color="k", lw=1.5)
            axes.annotate(
                known(centre, interval), (1, place), (4, 0), ("axes fraction", "data"),
                "offset points", va="center", fontsize=9,
            )  # fmt: skip
        limit = 1.0 if metric in HIGHER_IS_BETTER else 1.1 * np.nanmax([*means, 0.1])
        axes.set(title=_TITLES.get(metric, metric), xlim=(0, limit))
        axes.grid(axis="x")
    panels[0].set_yticks(places, [label(group) for group in groups])
    panels[0].invert_yaxis()
    return figure


@mpl.rc_context(STYLE)
def heatmap(study: Study) -> Figure:
    """Means over seeds on the grid of the first two settings that vary beside the seed.

    Further settings that vary get a row of panels for each of their combinations. A cell says
    the mean and, below, half the range over seeds, where there are several.
    """
    first, second, *rest = _axes_of(study)
    tables: dict[str, list[list[Trial]]] = {}
    for group in study.settings():
        words = " ".join(f"{short(key)}={group[0].settings[key]}" for key in rest)
        tables.setdefault(words, []).append(group)
    metrics = panel_metrics(study)
    ys, xs = _values(study, first), _values(study, second)
    size = ((0.75 * len(xs) + 1.1) * len(metrics), (0.6 * len(ys) + 1.3) * len(tables))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tables), len(metrics), squeeze=False)
    for row, (words, groups) in zip(panels, tables.items(), strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            means, halves = np.full((2, len(ys), len(xs)), np.nan)
            for group in groups:
                at = ys.index(group[0].settings[first]), xs.index(group[0].settings[second])
                means[at] = mean(group, metric)
                if len(group) > 1:
                    halves[at] = np.ptp(values(group, metric)) / 2
            _cells(axes, means, halves)
            axes.set_xticks(range(len(xs)), xs)
            axes.set_yticks(range(len(ys)), ys)
            title = _TITLES.get(metric, metric)
            axes.set(title=f"{title}\n{words}" if words else title)
            axes.set(xlabel=short(second), ylabel=short(first))
            axes.tick_params(length=0)
    return figure


def _cells(axes: Axes, means: np.ndarray, halves: np.ndarray) -> None:
    if np.isnan(means).all():
        return
    low, high = np.nanmin(means), np.nanmax(means)
    pad = max(0.0, _LEAST_SPAN - (high - low)) / 2
    axes.imshow(means, cmap="Blues", aspect="auto", vmin=low - pad, vmax=high + pad)
    for (row, column), value in np.ndenumerate(means):
        if np.isnan(value):
            continue
        dark = (value - low + pad) / (high - low + 2 * pad) > 0.55
        half = halves[row, column]
        text = f"{value:.3f}" if np.isnan(half) else f"{value:.3f}\n±{half:.3f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8, color="w" if dark else "k"
        )


@mpl.rc_context(STYLE)
def curves(study: Study) -> Figure:
    """Validation NLL and accuracy by epoch: a column for each value of the first setting.

    Lines are means over the seeds that reached an epoch; the band spans them.
    """
    varied = _axes_of(study)
    columns = _values(study, varied[0]) if varied else [""]
    figure = Figure(figsize=(1.2 + 2.6 * len(columns), 5.2), layout="constrained")
    panels = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    names: dict[str, int] = {}
    for column, value in enumerate(columns):
        for group in study.settings():
            if varied and group[0].settings[varied[0]] != value:
                continue
            name = label(group, varied[1:])
            colour, line = _LINES[names.setdefault(name, len(names)) % len(_LINES)]
            for axes, metric in zip(panels[:, column], ("val_nll", "val_accuracy"), strict=True):
                _curve(axes, group, metric, colour, line, name)
        panels[0, column].set_title(f"{short(varied[0])}={value}" if varied else study.name)
        panels[1, column].set_xlabel("epoch")
    panels[0, 0].set_ylabel("validation NLL")
    panels[0, 0].set_yscale("log")
    panels[1, 0].set_ylabel("validation accuracy")
    for axes in panels.flat:
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = {h.get_label(): h for axes in panels.flat for h in axes.lines}
    if any(names):
        figure.legend(
            [handles[name] for name in names], list(names), loc="outside lower center",
            ncols=min(4, len(names)),
        )  # fmt: skip
    return figure


def _curve(
    axes: Axes, group: Sequence[Trial], metric: str, colour: str, line: str, name: str
) -> None:
    for trial in group:
        RunDir(trial.path).verify("history.csv")
    runs = [
        [float(row[metric]) for row in read_history(trial.path / "history.csv")  # type: ignore[arg-type]
         if row.get(metric) is not None]
        for trial in group
    ]  # fmt: skip
    longest = max(map(len, runs))
    table = np.full((len(runs), longest), np.nan)
    for row, run in zip(table, runs, strict=True):
        row[: len(run)] = run
    epochs = np.arange(1, longest + 1)
    axes.plot(epochs, np.nanmean(table, axis=0), line, color=colour, label=name, lw=1.5)
    if len(runs) > 1:
        axes.fill_between(
            epochs, np.nanmin(table, axis=0), np.nanmax(table, axis=0), color=colour, alpha=0.15,
            lw=0,
        )  # fmt: skip


def panel_metrics(study: Study) -> list[str]:
    """The figures worth a panel: the rule's, and what it must not be bought with."""
    names = dict.fromkeys([study.rule.metric, "cancer_recall", "cancer_specificity"])
    return having(names, [trial.figures for trial in study.with_status(DONE)])


def label(group: Sequence[Trial], keys: Sequence[str] | None = None) -> str:
    """A setting in words: what varies beside the seed, or the chosen keys; of a path its name."""
    settings = {
        key: value.rpartition("/")[2] or value
        for key, value in group[0].setting
        if keys is None or key in keys
    }
    if not settings:
        return "" if keys is not None else "the one setting"
    if len(settings) == 1:
        return next(iter(settings.values()))
    return " ".join(f"{short(key)}={value}" for key, value in settings.items())


def known(value: float, interval: tuple[float, float] | None) -> str:
    """A mean in words, which may be undefined."""
    return shown(None if np.isnan(value) else value, interval)


def short(key: str) -> str:
    """A setting's last name."""
    return key.rpartition(".")[2]


def _axes_of(study: Study) -> list[str]:
    return [key for key in study.varied if key not in REPEATED]


def _values(study: Study, key: str) -> list[str]:
    found = list(dict.fromkeys(trial.settings[key] for trial in study.trials))
    places = {text: number(text) for text in found}
    if None in places.values():
        return found
    return sorted(found, key=lambda text: places[text] or 0.0)
