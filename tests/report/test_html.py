import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from leukemia.classes import Classes
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions
from leukemia.report.html import LIMIT, write_report
from tests.report.samples import FACTS, findings, pictures, random_predictions, scattered

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag was closed in order."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def report(tmp_path, parts, **changes):
    path = tmp_path / "report.html"
    write_report(path, findings(parts, **changes))
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parts():
    return {"val": random_predictions(80, 4.0), "test": random_predictions(120, 2.0, seed=1)}


@pytest.fixture(scope="module")
def source(parts, tmp_path_factory):
    return report(
        tmp_path_factory.mktemp("report"),
        parts,
        data=FACTS,
        embedding=scattered(parts),
        pictures=pictures({"test": parts["test"]}),
    )


def test_the_page_refers_to_nothing_outside_itself(source):
    page = Page(source)
    assert page.open == []
    markup = re.sub(r'src="data:image/(png|jpeg);base64,[^"]+"', "", source)
    assert "http:" not in markup
    assert "https:" not in markup
    assert "url(" not in markup
    assert "@import" not in markup
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    assert all(re.match("data:image/(png|jpeg);base64,", attrs["src"]) for attrs in page.all("img"))


def test_every_picture_has_a_text_instead_and_is_sharp_at_its_size(source, parts):
    images = Page(source).all("img")
    # Bars and confusion of two parts, curves, ROC, reliability, map; two views a mistake.
    assert len(images) == 8 + 2 * min(
        24, int((parts["test"].labels != parts["test"].predicted).sum())
    )
    assert len({attrs["alt"] for attrs in images}) == len(images)
    for attrs in images:
        assert len(attrs["alt"]) > 20
        kind, _, data = attrs["src"].partition(",")
        drawn = Image.open(io.BytesIO(base64.b64decode(data)))
        scale = 2 if "png" in kind else 1
        assert drawn.width == pytest.approx(scale * int(attrs["width"]), abs=2)


def test_the_confusion_counts_can_be_read_without_the_picture(source, parts):
    matrix = summarize(parts["test"])["confusion"]
    row = ", ".join(map(str, matrix[0]))
    assert any(f"Benign: {row};" in attrs["alt"] for attrs in Page(source).all("img"))


def test_the_page_says_what_a_reader_must_know(source, parts):
    text = Page(source).text
    assert "Research software, not a diagnostic device." in text
    assert "Validation was drawn at random." in text
    assert "val (n = 80)" in text
    assert "test (n = 120)" in text
    assert "model:\n  name: resnet18\n" in text
    assert "f" * 64 in text
    assert "packages.torch" in text
    m = summarize(parts["test"])
    low, high = m["interval"]["cancer_recall"]
    assert f"{m['cancer_recall']:.3f} [{low:.3f}, {high:.3f}]" in text
    assert "colour-histogram SVM" in text
    assert f"{m['accuracy']:.3f} ({m['accuracy'] - 0.935:+.3f})" in text


def test_floors_of_the_test_files_are_not_compared_with_validation(tmp_path, parts):
    text = Page(report(tmp_path, {"val": parts["val"]})).text
    assert text.count("not opened") == 2
    assert re.search(r"\([+-]0\.\d+\)", text) is None


def test_missed_cancers_and_mistakes_are_listed_by_file(tmp_path):
    rows = np.array(
        [[0.9, 0.1, 0, 0], [0.8, 0.2, 0, 0], [0, 0.3, 0.7, 0], [0.4, 0, 0.6, 0], [1, 0, 0, 0]]
    )
    files = ("found.jpg", "missed.jpg", "confused.jpg", "alarm.jpg", "worse.jpg")
    part = Predictions(files, np.array([0, 1, 1, 0, 3]), rows, Classes())
    text = Page(report(tmp_path, {"test": part})).text
    missed, mistakes = text.split("Missed cancers")[1].split("All mistakes")
    assert "test: cancer called Benign (2 of 5)" in missed
    listed = re.findall(r"\w+\.jpg", missed)
    assert listed == ["worse.jpg", "missed.jpg"]  # the most confident first
    assert "test (4 of 5)" in mistakes
    assert re.findall(r"\w+\.jpg", mistakes) == [
        "worse.jpg", "missed.jpg", "confused.jpg", "alarm.jpg"
    ]  # fmt: skip


def test_no_mistake_is_said_too(tmp_path):
    text = Page(report(tmp_path, {"test": random_predictions(12, 60.0)})).text
    assert "test: cancer called Benign (0 of 12)." in text


def test_text_cannot_become_markup(tmp_path):
    evil = "\"><script>alert('x')</script>"
    classes = Classes(("<b>", "M&M"), benign="<b>")
    part = Predictions((evil, '"><img src=x>'), np.array([0, 1]), np.eye(2)[[1, 0]], classes)
    source = report(
        tmp_path,
        {f"test{evil}": part},
        title=evil,
        config_yaml=evil,
        environment={evil: {"deep": evil}},
        notes=[evil],
        floors=[{"name": evil, "accuracy": 0.5}],
        data=replace(FACTS, source=evil, split=evil, disjoint=evil, counts={evil: {evil: 1}}),
        embedding=scattered({evil: part}),
        pictures=pictures({f"test{evil}": part}, views=(evil,)),
    )
    page = Page(source)
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert all("alt" in attrs for attrs in page.all("img"))
    assert page.open == []
    assert page.text.count(evil) >= 8
    assert "M&M" in page.text


def test_nothing_known_leaves_its_place_out(tmp_path, parts):
    source = report(
        tmp_path, {"val": parts["val"]}, history=[], floors=[], notes=[], environment={}
    )
    text = Page(source).text
    assert "simple features" not in text
    assert not {"Training", "Data", "Embeddings", "Pictures of the worst mistakes"} & set(
        re.findall("<h2>(.*?)</h2>", source)
    )
    assert len(Page(source).all("img")) == 4


def test_undefined_figures_are_said_to_be(tmp_path):
    part = Predictions(("x", "y"), np.array([1, 2]), np.eye(4)[[1, 2]], Classes())
    text = Page(report(tmp_path, {"test": part})).text
    assert "n/a" in text
    assert "None" not in text
    assert "nan" not in text


def test_the_page_stays_small_with_thousands_of_mistakes(tmp_path):
    parts = {"val": random_predictions(3000, 0.0), "test": random_predictions(3000, 0.0, seed=1)}
    source = report(tmp_path, parts)
    assert len(source.encode()) < 2_000_000
    missed = int(((parts["val"].labels != 0) & (parts["val"].predicted == 0)).sum())
    assert f"and {missed - 200} more" in Page(source).text


def test_the_page_stays_below_its_limit_whatever_its_pictures_and_settings(tmp_path):
    parts = {"test": random_predictions(400, -9.0)}
    assert (parts["test"].labels != parts["test"].predicted).sum() == 400
    source = report(
        tmp_path,
        parts,
        pictures=pictures(parts, views=("image", "Grad-CAM", "Eigen-CAM")),
        config_yaml="# " + "x" * 3_500_000,
    )
    assert len(source.encode()) < LIMIT == 5_000_000
    shown = source.count('class="views"')
    assert 0 < shown < 24
    assert f"test: {shown} of 400 mistakes" in Page(source).text
