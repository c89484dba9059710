import re
from dataclasses import replace
from pathlib import Path

import pytest

from leukemia.report import card
from leukemia.report.card import STATUSES, answer_all, known_of
from tests.report.samples import FACTS, findings, judgement, random_predictions

PARTS = {"val": random_predictions(40, 3.0), "test": random_predictions(40, 1.0, seed=1)}
EVERYTHING = {"test", "aria", "images", "calibration", "operating", "maps"}


def answers(known, name):
    (found,) = (g for g in answer_all(known) if g.name.startswith(name))
    return {answer.id: answer for answer in found.answers}


def test_every_item_of_both_guidelines_is_answered_once():
    tripod, claim = answer_all(set())
    assert [a.id for a in claim.answers] == [str(i) for i in range(1, 45)]
    assert " ".join(a.id for a in tripod.answers) == (
        "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 "
        "14 15 16 17 18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
    )


@pytest.mark.parametrize("known", [set(), EVERYTHING])
def test_every_answer_has_a_status_and_a_place_or_a_reason(known):
    for guideline in answer_all(known):
        for answer in guideline.answers:
            assert answer.status in STATUSES
            assert answer.told
            assert answer.topic


def test_nothing_needed_that_can_never_be_known():
    text = "".join(str(answer_all({name})) for name in EVERYTHING)
    for name in EVERYTHING:
        assert str(answer_all({name})) != str(answer_all(set())), name
    assert "None" not in text


def test_demographics_are_never_filled():
    tripod, claim = answers(EVERYTHING, "TRIPOD"), answers(EVERYTHING, "CLAIM")
    for answer in (tripod["14"], tripod["20b"], claim["36"]):
        assert (answer.status, answer.told) == ("unmet", "demographics: unavailable")
    assert claim["33"].status == "unmet"
    assert claim["20"].told.endswith("for patients only where data.groups lists them")


def test_an_item_is_filled_only_by_what_the_run_holds():
    def statuses(known):
        tripod, claim = answers(known, "TRIPOD"), answers(known, "CLAIM")
        items = (tripod["12f"], tripod["15"], tripod["23a"], claim["31"], claim["32"])
        return [item.status for item in items]

    assert statuses(set()) == ["unmet"] * 5
    assert statuses({"calibration"}) == ["filled", "unmet", "unmet", "unmet", "unmet"]
    assert statuses(EVERYTHING) == ["filled", "filled", "partly", "filled", "filled"]


def test_what_a_run_holds_is_read_from_its_findings():
    assert known_of(findings({"val": PARTS["val"]})) == set()
    assert known_of(findings(PARTS, data=FACTS)) == {"test", "aria", "images"}
    elsewhere = replace(FACTS, source="embeddings")
    assert known_of(findings(PARTS, data=elsewhere)) == {"test"}
    judged = judgement(PARTS)
    assert known_of(findings(PARTS, **judged)) == {"test", "calibration", "operating"}
    shares = {"test": {"nuclei": PARTS["test"].p_cancer}}
    assert "maps" in known_of(findings(PARTS, attention=shares))
    assert "maps" not in known_of(findings(PARTS, attention={"test": {}}))


def test_an_answer_points_to_sections_that_the_card_has():
    template = Path(card.__file__).with_name("card.md").read_text(encoding="utf-8")
    headings = set(re.findall("^## (.*)$", template, re.M))
    told = [a.told for g in answer_all(EVERYTHING) for a in g.answers if a.status != "unmet"]
    places = {place for text in told for place in re.split("[;.:(]", text.split(". Lacking")[0])}
    named = {place.strip() for place in places if re.fullmatch(" ?[A-Z][a-z ]+", place)}
    assert len(named) > 5
    assert named <= headings
