"""Pages where no class is benign, where several are, and where there are thirty."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from leukemia.classes import Classes
from leukemia.measure.comparison import compare
from leukemia.measure.metrics import summarize
from leukemia.report.attention import Attention, attention_figure
from leukemia.report.card import write_card
from leukemia.report.embedding_map import embedding_scatter
from leukemia.report.figures import class_bars, class_colours, confusion_matrix
from leukemia.report.html import write_figures, write_report
from leukemia.report.mistakes import attention_boxes
from leukemia.report.probabilities import forest
from leukemia.report.scores import Scores, is_scores
from tests.foreign import EIGHT, FIVE, THIRTY
from tests.report.samples import FACTS, findings, judgement, pictures, random_predictions, scattered

PLAIN = Classes(FIVE, benign=None)


def parts_of(classes, n=60, gain=3.0):
    return {
        part: random_predictions(n, gain, seed, classes)
        for seed, part in enumerate(("val", "test"))
    }


def found_of(classes, n=60, gain=3.0):
    parts = parts_of(classes, n, gain)
    counts = {part: dict.fromkeys(classes.names, 12) for part in ("train", "val", "test")}
    return findings(
        parts,
        data=replace(FACTS, source="folder", counts=counts),
        embedding=scattered(parts),
        pictures=pictures(parts),
        config_yaml="",
        floors=[],
        **judgement(parts),
    )


def words(path) -> str:
    text = re.sub(r"base64,[^\"]*", "", path.read_text())
    return re.sub(r"<style>.*?</style>", "", text, flags=re.S).lower()


@pytest.mark.parametrize("write", [write_report, write_card])
def test_without_a_benign_class_no_page_speaks_of_cancer(tmp_path, write):
    path = tmp_path / "page"
    write(path, found_of(PLAIN))
    text = words(path)
    for word in ("cancer", "malignant", "sensitivity", "specificity", "roc auc", "false neg"):
        assert word not in text, word
    for word in ("basophil", "f1", "uncertain" if write is write_card else "referral"):
        assert word in text
    # And the same page of classes with a benign one does.
    write(path, found_of(Classes(FIVE, "Basophil")))
    assert words(path).count("cancer") > 5


def test_several_benign_classes_are_all_named(tmp_path):
    found = found_of(Classes(FIVE, ("Basophil", "Monocyte")), gain=1.0)
    write_card(tmp_path / "card.md", found)
    card = (tmp_path / "card.md").read_text()
    assert "every class but Basophil and Monocyte is cancer" in card
    assert "the sum over all classes but Basophil and Monocyte" in card
    write_report(tmp_path / "report.html", found)
    text = (tmp_path / "report.html").read_text()
    assert "cancer called Basophil or Monocyte" in text
    assert "none of the benign ones" in text


def test_plates_and_forest_of_a_plain_classifier(tmp_path):
    found = found_of(PLAIN)
    write_figures(tmp_path, found)
    written = {path.stem.removesuffix("_test") for path in tmp_path.glob("*_test.png")}
    assert written == {"confusion", "classes", "reliability", "referral"}
    first, second = found.predictions["test"], random_predictions(60, 1.0, 1, PLAIN)
    figure = forest(compare({"a": first, "b": second}))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["accuracy", "NLL", "ECE"]


def scores(classes, n=4):
    part = random_predictions(n, 2.0, 0, classes)
    return Scores(part.files, part.probabilities, np.ones(n, np.bool_), classes)


def test_scores_of_a_plain_classifier_have_no_column_of_cancer(tmp_path):
    found = scores(PLAIN)
    names = ["file", *(f"p_{name}" for name in FIVE), "prediction", "certain"]
    assert found.columns == [*names, "decision", "why"]
    (tmp_path / "p.csv").write_text(found.to_csv())
    assert is_scores(tmp_path / "p.csv")
    assert "cancer" not in found.to_csv() + found.to_jsonl() + found.printout()
    (tmp_path / "p.jsonl").write_text(found.to_jsonl())
    assert is_scores(tmp_path / "p.jsonl")


def test_scores_of_several_benign_classes_share_out_what_is_cancer():
    found = scores(Classes(FIVE, ("Basophil", "Monocyte")))
    assert found.cancers == ("Eosinophil", "Lymphocyte", "Neutrophil")
    np.testing.assert_allclose(found.given_cancer.sum(axis=1), 1)
    given = [next(found.rows())[f"p_{name}_if_cancer"] for name in found.cancers]
    np.testing.assert_allclose(given, found.given_cancer[0])


def test_of_thirty_classes_the_print_out_has_the_five_most_probable():
    found = scores(Classes(THIRTY, ("blast00", "blast07")))
    first, *rest = found.printout().splitlines()
    best = np.array(THIRTY)[np.argsort(-found.probabilities[0])[:5]]
    assert [name for name in THIRTY if name in first] == sorted(best, key=THIRTY.index)
    assert "(the 5 most probable of 30)" in first
    assert sum("if cancer" in line for line in rest) == 5


MANY = [Classes(THIRTY, None), Classes(EIGHT, None), Classes(FIVE, None), Classes()]


def overlapping(figure) -> list[tuple[str, str]]:
    """The pairs of texts that lie on each other, as drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [
        (text.get_text(), text.get_window_extent(renderer))
        for axes in figure.axes
        for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]
        if text.get_text() and text.get_visible()
    ]
    # A point less on each side: neighbours may touch.
    boxes = [(text, box.padded(-1)) for text, box in texts]
    return [
        (one, other)
        for i, (one, box) in enumerate(boxes)
        for other, there in boxes[:i]
        if box.overlaps(there)
    ]


@pytest.mark.parametrize("classes", MANY, ids=len)
def test_a_confusion_matrix_can_be_read_at_any_number_of_classes(classes):
    figures = summarize(random_predictions(2000, 4.0, 0, classes))
    figure = confusion_matrix(figures["confusion"], classes)
    # No wider than a page shows it, give or take, and no letter below seven points.
    assert figure.get_figwidth() < 16
    sizes = [text.get_fontsize() for text in figure.axes[0].texts]
    assert min(sizes) > 7
    assert overlapping(figure) == []
    shown = {text.get_text().split("\n")[0] for text in figure.axes[0].texts}
    assert {str(n) for row in figures["confusion"] for n in row if n} <= shown


@pytest.mark.parametrize("classes", MANY, ids=len)
def test_bars_and_boxes_can_be_read_at_any_number_of_classes(classes):
    part = random_predictions(600, 4.0, 0, classes)
    assert overlapping(class_bars(summarize(part), classes)) == []
    shares = {name: np.linspace(0, 1, 600) for name in ("nuclei", "background", "corner", "kept")}
    for figure in (
        attention_boxes(part, shares),
        attention_figure(Attention({"grad_cam": shares}, shares), part.labels, classes.names),
    ):
        assert figure.get_figwidth() <= 16
        assert overlapping(figure) == []


@pytest.mark.parametrize("n", [2, 4, 7, 8, 30, 40, 60])
def test_every_class_has_a_colour_of_its_own(n):
    assert len(set(class_colours(n))) == n


def test_a_legend_of_thirty_classes_stays_on_its_figure():
    figure = embedding_scatter(scattered({"test": random_predictions(300, 4.0, 0, MANY[0])}))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 32
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1  # noqa: PT018
    assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1  # noqa: PT018


def test_tables_of_thirty_classes_go_down_the_page(tmp_path):
    found = found_of(MANY[0], n=300)
    write_card(tmp_path / "card.md", found)
    card = (tmp_path / "card.md").read_text()
    assert max(line.count("|") for line in card.splitlines()) <= 8
    assert "| class | train | val | test |" in card
    write_report(tmp_path / "report.html", found)
    text = (tmp_path / "report.html").read_text()
    heads = re.findall(r"<thead>(.*?)</thead>", text)
    assert max(head.count("<th") for head in heads) <= 8
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert pictures
    widths = [Image.open(io.BytesIO(base64.b64decode(p))).width for p in pictures]
    assert max(widths) <= 16 * 192
