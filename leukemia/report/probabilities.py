"""What probabilities and decisions are worth, as sections of the report and their figures."""

from collections.abc import Iterator, Mapping
from html import escape
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from leukemia.measure.calibration import SCORES, Calibration
from leukemia.measure.comparison import FIGURES, compared_figures
from leukemia.measure.intervals import shown
from leukemia.measure.metrics import point_scores
from leukemia.measure.operating import at_most
from leukemia.measure.predictions import Predictions
from leukemia.measure.referral import SHARES, net_benefit, risk_coverage
from leukemia.report.curves import SERIES, reliability, roc_and_pr
from leukemia.report.figures import BLUE, GREY, ORANGE, STYLE
from leukemia.report.findings import Findings
from leukemia.report.page import image, table
from leukemia.report.summary import SCALARS

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


CALIBRATION_HEADER = ("part", "probabilities", *(SCALARS[name] for name in SCORES))
_RELIABLE = (
    "How often the most probable class is right, by its probability, with 95% intervals. "
    "On the dashed line confidence equals accuracy."
)


def probabilities(found: Findings) -> Iterator[str]:
    """ROC and precision-recall, where a class is benign, and reliability of every part."""
    yield "<h2>Probabilities</h2>"
    if found.classes.has_cancer:
        yield image(
            roc_and_pr(found.predictions),
            "ROC and precision-recall curves of cancer against benign; the summary has the areas.",
            "Cancer against benign, by the probability of cancer. Markers: the decision taken "
            "here.",
        )
    fitted = found.calibration
    if fitted is not None:
        yield f"<p>{escape(calibration_said(fitted))}</p>"
        if found.judged:
            yield table("Before and after", CALIBRATION_HEADER, calibration_rows(found))
    if fitted is None or fitted.temperature == 1:
        yield image(
            reliability(found.predictions),
            "Accuracy against confidence in 15 bins, with the number of images in each bin.",
            _RELIABLE,
        )
        return
    for name, part in found.predictions.items():
        yield image(
            reliability_before_after(name, part, fitted),
            f"Accuracy against confidence in 15 bins, before and after calibration, {name}.",
            f"{name}: {_RELIABLE}",
        )


def calibration_rows(found: Findings) -> list[list[str]]:
    """NLL, Brier score and ECE of each part before and after, under `CALIBRATION_HEADER`."""
    return [
        [part, name, *(shown(judged[name][k], judged[name]["interval"][k]) for k in SCORES)]
        for part, judged in found.judged.items()
        for name in ("uncalibrated", "calibrated")
    ]


def calibration_said(fitted: Calibration) -> str:
    """How the probabilities were calibrated, in a sentence."""
    unchanged = " (1: unchanged)" if fitted.temperature == 1 else ""
    return (
        f"Calibrated by one temperature of {fitted.temperature:.3f}{unchanged}, fitted on "
        f"{fitted.fitted_on} ({fitted.n} images)."
    )


_AT = "sensitivity_at_specificity"
_MOST_ROWS = 200  # of a list of files; the rest stands in predictions/


OPERATING_HEADER = (
    "part",
    "threshold",
    "sensitivity",
    "specificity",
    "cancers missed",
    "false alarms",
)


def decisions(found: Findings) -> Iterator[str]:
    """Operating point, decision curve and referral, where a calibration and its judgement are.

    Where no class is benign there is the referral alone.
    """
    fitted = found.calibration
    if fitted is None or not found.judged:
        return
    calibrated = {name: fitted.calibrated(found.predictions[name]) for name in found.judged}
    if fitted.threshold is not None:
        yield from _operating(found, fitted)
        yield from _benefit(calibrated, fitted)
    yield from _referral(found.judged, calibrated, fitted)


def operating_rows(found: Findings) -> list[list[str]]:
    """What each threshold does to each part, as rows under `OPERATING_HEADER`.

    None where no class is benign.
    """
    return [
        [
            part,
            f"{at['threshold']:.4g} ({'chosen' if name == 'threshold' else 'plain'})",
            shown(at["sensitivity"], at["interval"]["sensitivity"]),
            shown(at["specificity"], at["interval"]["specificity"]),
            f"{len(at['false_negatives'])} of {at['cancers']}",
            f"{at['false_positives']} of {at['benigns']}",
        ]
        for part, judged in found.judged.items()
        for name, at in judged.get("operating", {}).items()
    ]


def _operating(found: Findings, fitted: Calibration) -> Iterator[str]:
    yield "<h2>Operating point</h2>"
    yield (
        f"<p>The threshold was chosen on {escape(fitted.fitted_on)} ({fitted.n} images) for a "
        f"sensitivity of at least {fitted.sensitivity:g}, on calibrated probabilities; on other "
        "images the sensitivity can be lower. Here it decides cancer or benign only, so its "
        "figures differ from those of the most probable class in the summary.</p>"
    )
    yield table(
        "Called cancer from a threshold on P(cancer) on", OPERATING_HEADER, operating_rows(found)
    )
    wanted = [row["specificity"] for row in next(iter(found.judged.values()))[_AT]]
    yield table(
        "Highest sensitivity at a specificity of at least",
        ["part", *(f"{value:.2f}" for value in wanted)],
        [
            [part, *(shown(row["sensitivity"], row["interval"]) for row in judged[_AT])]
            for part, judged in found.judged.items()
        ],
    )
    for part, judged in found.judged.items():
        yield _missed(part, judged["operating"]["threshold"])


def _missed(part: str, at: Mapping[str, Any]) -> str:
    missed = at["false_negatives"]
    caption = f"{part}: cancers missed at the chosen threshold ({len(missed)} of {at['cancers']})"
    if not missed:
        return f"<p>{escape(caption)}.</p>"
    rows = [[one["file"], one["label"], f"{one['p_cancer']:.4g}"] for one in missed[:_MOST_ROWS]]
    rest = len(missed) - len(rows)
    more = f"<p>and {rest} more, in the table of predictions.</p>" if rest else ""
    return table(caption, ["file", "true", "P(cancer)"], rows) + more


def _benefit(calibrated: Mapping[str, Predictions], fitted: Calibration) -> Iterator[str]:
    yield "<h2>Decision curve</h2>"
    yield image(
        decision_curve(calibrated, fitted.threshold),
        f"Net benefit by threshold probability for {', '.join(calibrated)}, against following up "
        "every image and none; the operating point's figures are in the table above.",
        "Net benefit (Vickers and Elkin 2006): cancers found per image, less the false alarms at "
        "the rate that the threshold probability implies. It depends on the share of cancers, "
        "which in a collection is not that of a clinic.",
    )


def _referral(
    judged: Mapping[str, Mapping[str, Any]],
    calibrated: Mapping[str, Predictions],
    fitted: Calibration,
) -> Iterator[str]:
    has_cancer = fitted.threshold is not None
    told = (" and cancer sensitivity", "cancer by the chosen threshold, accuracy by the most")
    accuracy, decided = told if has_cancer else ("", "accuracy by the most")
    yield "<h2>Referral</h2>"
    yield image(
        risk_coverage_curves(calibrated, fitted.threshold),
        f"Accuracy{accuracy} of what remains for {', '.join(calibrated)} while up to "
        "30% of the images are referred; the table below has the values.",
        "What remains for the model when its least certain images go to a human; "
        f"{decided} probable class.",
    )
    yield '<div class="row">'
    for part, found in judged.items():
        yield table(
            f"{part}: after referral",
            ["referred", "images left", "accuracy"]
            + (["sensitivity", "cancers missed"] if has_cancer else []),
            [_left(row) for row in found["referral"]["threshold" if has_cancer else "plain"]],
        )
    yield "</div>"
    for part, found in judged.items():
        doubtful = found["uncertain"]
        near = ", or near the threshold" if has_cancer else ""
        missed = f" and {doubtful['missed']} cancers are missed" if has_cancer else ""
        yield (
            f"<p>{escape(part)}: {doubtful['n']} of {found['n']} images are uncertain (below a "
            f"confidence of {fitted.confidence:.4g}{near}); among the others "
            f"{doubtful['wrong']} are called the wrong class{missed}.</p>"
        )


def _left(row: Mapping[str, Any]) -> list[str]:
    """What is left after a referral, as a row of its table."""
    cells = [f"{row['referred']:.0%}", str(row["n"]), shown(row["accuracy"])]
    if "missed" in row:
        cells += [shown(row["sensitivity"]), f"{row['missed']:.3g} of {row['cancers']:.5g}"]
    return cells
