"""What the probabilities are worth, before and after calibration."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from leukemia.measure.calibration import SCORES, Calibration
from leukemia.measure.intervals import shown
from leukemia.measure.predictions import Predictions
from leukemia.report.curves import reliability, roc_and_pr
from leukemia.report.decisions import decision_curve, reliability_before_after, risk_coverage_curves
from leukemia.report.findings import Findings
from leukemia.report.page import image, table
from leukemia.report.sections.summary import SCALARS

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
        f"{fitted.part} ({fitted.n} images)."
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
        f"<p>The threshold was chosen on {escape(fitted.part)} ({fitted.n} images) for a "
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
