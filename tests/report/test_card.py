import re
from dataclasses import replace

import pytest

from leukemia.classes import Classes
from leukemia.measure.metrics import summarize
from leukemia.report.card import write_card
from tests.report.samples import CONFIG, FACTS, findings, judgement, random_predictions

PARTS = {"val": random_predictions(80, 3.0), "test": random_predictions(60, 1.0, seed=1)}


def card(tmp_path, parts=PARTS, **changes):
    path = tmp_path / "MODEL_CARD.md"
    write_card(path, findings(parts, **changes))
    return path.read_text(encoding="utf-8")


def section(text, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


def row(text, first):
    return [cell.strip() for cell in re.search(rf"^\| {first} \|(.*)\|$", text, re.M)[1].split("|")]


def test_the_card_says_what_the_model_is_not_for(tmp_path):
    text = card(tmp_path, data=FACTS)
    assert "Research software, not a diagnostic device." in text
    assert "Diagnosis, screening" in section(text, "Out of scope")
    assert "False negatives" in section(text, "Ethical notes")
    assert "- Validation was drawn at random." in text
    assert "$" not in text


def test_figures_are_those_of_the_metrics_with_their_intervals(tmp_path):
    text = section(card(tmp_path), "Figures")
    test = summarize(PARTS["test"])
    low, high = test["interval"]["accuracy"]
    assert row(text, "Accuracy")[1] == f"{test['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
    by_class = text.split("By class, test")[1]
    low, high = test["interval"]["recall.Early"]
    assert row(by_class, "Early") == [
        f"{test['precision']['Early']:.3f}",
        f"{test['recall']['Early']:.3f} [{low:.3f}, {high:.3f}]",
        f"{test['f1']['Early']:.3f}",
        *map(str, test["confusion"][1]),
    ]
    assert "colour-histogram SVM 0.935; mean colour 0.895" in text


def test_settings_and_data_are_those_of_the_run(tmp_path):
    text = card(tmp_path, data=FACTS)
    model, data = section(text, "Model"), section(text, "Data")
    assert row(model, "Network") == ["resnet18 + LinearHead"]
    assert row(model, "Initial weights") == ["imagenet.pth"]
    assert row(model, "Input") == ["RGB image, 224 pixels square (crop: square; mask: published)"]
    assert row(model, "Weights kept of stage head") == ["best validation nll"]
    assert "turned and mirrored" in row(model, "Output")[0]
    assert row(model, "Seed") == ["7"]
    assert row(data, "train") == ["300", "300", "300", "300", "1200"]
    assert (
        "No two parts share files and identical copies.** That is shown for patients only" in data
    )
    assert "`" + "f" * 64 + "`" in data


def test_a_run_on_embeddings_claims_nothing_of_images(tmp_path):
    config = CONFIG.replace("name: aria", "name: embeddings")
    text = card(tmp_path, config_yaml=config, data=replace(FACTS, source="embeddings"))
    model = section(text, "Model")
    assert row(model, "Input") == ["embeddings made elsewhere"]
    assert row(model, "Network") == ["LinearHead"]
    assert "mirrored" not in text
    assert "published" not in model
    assert "resnet18" not in model
    assert "| 9a | choice of predictors | unmet |" in text


def test_what_was_not_done_is_said(tmp_path):
    text = card(tmp_path, {"val": PARTS["val"]}, config_yaml="", environment={}, history=[])
    assert "The test part was not opened." in section(text, "Figures")
    assert section(text, "Data").strip() == "Not recorded."
    assert section(text, "Thresholds").startswith("\nNone was chosen")
    assert section(text, "Calibration").startswith("\nNone was fitted")
    assert "None |" not in text


def test_thresholds_come_from_validation_and_are_shown_on_test(tmp_path):
    found = judgement(PARTS)
    text = card(tmp_path, **found)
    at = found["judged"]["test"]["operating"]["threshold"]
    said = section(text, "Thresholds")
    assert "Chosen on val (80 images) for a sensitivity of at least 0.995" in said
    assert f"{len(at['false_negatives'])} of 45 | {at['false_positives']} of 15" in said
    assert f"temperature of {found['calibration'].temperature:.3f}" in section(text, "Calibration")


@pytest.mark.parametrize(
    ("source", "said"),
    [("synthetic", "PAINTED"), ("embeddings", "never saw the images"), ("folder", "knows nothing")],
)
def test_nothing_of_the_known_dataset_is_claimed_of_another(tmp_path, source, said):
    text = card(tmp_path, data=replace(FACTS, source=source))
    assert said in section(text, "Data")
    assert "Aria" not in text
    assert "Kaggle" not in text


def test_a_cell_cannot_break_its_table(tmp_path):
    config = "model:\n  name: 'a|b'\n  head: {_target_: x.h}\n"
    assert "| Network | a\\|b + h |" in card(tmp_path, config_yaml=config)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("![a](http://b/c.png)", r"![a\](http://b/c.png)"),
        ("`x` *y* __z__ a|b", r"\`x\` \*y\* \_\_z\_\_ a\|b"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_no_name_or_note_of_a_run_is_taken_for_markdown(tmp_path, name, shown):
    classes = Classes((name, "Early", "Pre", "Pro"), name)
    parts = {part: replace(table, classes=classes) for part, table in PARTS.items()}
    text = card(tmp_path, parts, notes=[f"An image '{name}'."], title=name)
    assert name not in text
    assert f"# Model card: {shown}\n" in text
    assert f"- An image '{shown}'." in text
    assert f"| {shown} |" in section(text, "Figures")
