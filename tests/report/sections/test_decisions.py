import re

from leukemia.measure.intervals import shown
from leukemia.report.probabilities import decisions, probabilities
from tests.report.samples import findings, judgement, random_predictions

PARTS = {"val": random_predictions(80, 1.0), "test": random_predictions(60, 1.0, seed=1)}
JUDGED = judgement(PARTS)


def html(section, **changes):
    return "\n".join(section(findings(PARTS, **changes)))


def test_without_a_calibration_nothing_is_said_of_decisions():
    assert html(decisions) == ""
    assert "temperature" not in html(probabilities)


def test_every_missed_cancer_is_named_at_the_chosen_threshold():
    source = html(decisions, **JUDGED)
    for part, judged in JUDGED["judged"].items():
        missed = judged["operating"]["threshold"]["false_negatives"]
        caption = f"{part}: cancers missed at the chosen threshold ({len(missed)} of "
        assert caption in source
        listed = source.split(caption)[1].split("</table>")[0] if missed else ""
        assert re.findall(r"\w+/\d+\.jpg", listed) == [one["file"] for one in missed]


def test_the_table_has_the_chosen_threshold_and_one_half():
    source = html(decisions, **JUDGED)
    at = JUDGED["judged"]["test"]["operating"]
    for name, said in (("threshold", "chosen"), ("half", "plain")):
        sensitivity = shown(at[name]["sensitivity"], at[name]["interval"]["sensitivity"])
        cells = f"<td>{at[name]['threshold']:.4g} ({said})</td><td>{sensitivity}</td>"
        assert cells in source
    assert "at least 0.995" in source


def test_all_shares_of_referral_are_in_a_table():
    source = html(decisions, **JUDGED)
    table = source.split("test: after referral")[1].split("</table>")[0]
    assert re.findall(r'scope="row">(\d+%)', table) == [f"{5 * k}%" for k in range(7)]
    row = JUDGED["judged"]["test"]["referral"]["threshold"][2]
    assert f"<td>{row['n']}</td><td>{row['accuracy']:.3f}</td>" in table


def test_a_changed_temperature_is_shown_before_and_after():
    calibration = JUDGED["calibration"]
    assert calibration.temperature > 1
    source = html(probabilities, **JUDGED)
    assert f"temperature of {calibration.temperature:.3f}, fitted on val (80 images)" in source
    assert source.count("before and after calibration") == 2
    ece = JUDGED["judged"]["test"]["calibrated"]["ece"]
    assert "<td>calibrated</td>" in source
    assert f"{ece:.3f} [" in source
