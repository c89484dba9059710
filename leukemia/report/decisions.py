"""Figures of decisions: what calibration, a threshold, a referral or another run change."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from leukemia.measure.calibration import Calibration
from leukemia.measure.comparison import FIGURES, compared_figures
from leukemia.measure.metrics import point_scores
from leukemia.measure.operating import at_most
from leukemia.measure.predictions import Predictions
from leukemia.measure.referral import SHARES, net_benefit, risk_coverage
from leukemia.report.curves import SERIES, reliability
from leukemia.report.figures import BLUE, GREY, ORANGE, STYLE

_BETTER_BELOW = {"nll", "ece"}


@mpl.rc_context(STYLE)
def decision_curve(parts: Mapping[str, Predictions], threshold: float | None = None) -> Figure:
    """Net benefit over threshold probabilities, beside following up all images or none.

    Args:
        parts: (calibrated) predictions by part, one panel each.
        threshold: of the operating point, marked where given.
    """
    figure = Figure(figsize=(4.5 * len(parts), 4.2), layout="constrained")
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, (name, part) in zip(panels, parts.items(), strict=True):
        curve = net_benefit(part)
        share = float(part.cancer.mean())
        axes.plot(curve.threshold, curve.model, color=BLUE, label="by P(cancer)")
        axes.plot(curve.threshold, curve.treat_all, "--", color=ORANGE, label="all images")
        axes.axhline(0, color=GREY, linestyle=":", label="no image")
        if threshold is not None:
            axes.axvline(threshold, color=GREY, linewidth=1)
            axes.annotate(
                f" threshold {threshold:.2g}",
                (threshold, 0.02),
                xycoords=("data", "axes fraction"),
                fontsize=9,
                color=GREY,
            )
        # Far below 0 there is only the line of all images on its way to minus infinity.
        axes.set(title=f"{name} ({share:.0%} cancer)", xlim=(0, 1), ylim=(-0.25, 1.02))
        axes.set_xlabel("threshold probability of cancer")
        axes.grid()
    panels[0].set_ylabel("net benefit (cancers found per image)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@mpl.rc_context(STYLE)
def risk_coverage_curves(
    parts: Mapping[str, Predictions], threshold: float | None = None
) -> Figure:
    """Accuracy and cancer sensitivity of what remains while up to 30% of images are referred.

    Where no class is benign there is the accuracy alone.

    Args:
        parts: (calibrated) predictions by part, such as val and test; the markers are at every
            5%.
        threshold: the least P(cancer) called cancer, for the sensitivity; None for the most
            probable class to decide.
    """
    has_cancer = all(part.classes.has_cancer for part in parts.values())
    n_panels = 2 if has_cancer else 1
    figure = Figure(figsize=(9 if has_cancer else 5.5, 3.8), layout="constrained")
    panels = figure.subplots(1, n_panels, sharex=True, sharey=True, squeeze=False)[0]
    for (name, part), (colour, line, marker) in zip(parts.items(), cycle(SERIES), strict=False):
        curve, n = risk_coverage(part, threshold), len(part.files)
        marked = [at_most(share, n) for share in SHARES]
        referred = np.arange(marked[-1] + 1)
        shown = [curve.accuracy] + ([] if curve.sensitivity is None else [curve.sensitivity])
        for axes, values in zip(panels, shown, strict=True):
            axes.plot(
                referred / n,
                values[n - 1 - referred],
                line,
                color=colour,
                marker=marker,
                markevery=marked,
                ms=5,
                label=f"{name} (n = {n})",
            )
    panels[0].set(title="Accuracy of what remains", ylabel="accuracy")
    if has_cancer:
        panels[1].set(title="Cancer sensitivity of what remains", ylabel="cancer sensitivity")
    for axes in panels:
        axes.set(xlabel="referred to a human, least certain first", xticks=SHARES)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(labelleft=True)
        axes.grid()
    panels[0].legend(loc="lower right")
    return figure


def reliability_before_after(name: str, part: Predictions, calibration: Calibration) -> Figure:
    """Accuracy against confidence of the top class, as the network gave it and calibrated.

    Args:
        name: of the part.
        part: its predictions, uncalibrated.
        calibration: the run's.
    """
    stages = {"uncalibrated": part, "calibrated": calibration.calibrated(part)}
    return reliability(
        {f"{name}, {stage} (ECE {point_scores(p)['ece']:.3f})": p for stage, p in stages.items()}
    )


@mpl.rc_context(STYLE)
def forest(compared: Mapping[str, Any]) -> Figure:
    """Differences from the reference run with their 95% intervals, one panel a figure.

    Args:
        compared: what `compare.compare` returned.
    """
    runs, names = compared["differences"], compared_figures(compared)
    figure = Figure(figsize=(11, 1.6 + 0.35 * len(runs)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True)
    for axes, key in zip(panels, names, strict=True):
        title = FIGURES[key]
        axes.axvline(0, color=GREY, linewidth=1)
        for place, one in enumerate(runs):
            value, bounds = one["difference"][key], one["interval"][key]
            if value is None:
                axes.text(
                    0, place, "n/a", ha="center", va="center", color=GREY, backgroundcolor="w"
                )
                continue
            if bounds is not None:
                axes.hlines(place, *bounds, color=BLUE, linewidth=2)
            axes.plot(value, place, "o", color=BLUE, ms=6)
        better = "better: left" if key in _BETTER_BELOW else "better: right"
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(better, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
        axes.tick_params(axis="x", labelsize=9)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.15)
        axes.grid(axis="x")
    panels[0].set_yticks(range(len(runs)), [one["run"] for one in runs])
    panels[0].set_ylim(len(runs) - 0.5, -0.5)
    figure.suptitle(f"Difference from {compared['reference']}", fontsize=11)
    return figure
