"""The report in a real browser."""

import base64

import pytest

from leukemia.report.html import write_report
from tests.browser import browser
from tests.report.samples import FACTS, findings, judgement, pictures, random_predictions, scattered

PARTS = {"val": random_predictions(80, 3.0), "test": random_predictions(60, 1.0, seed=1)}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with every section, opened from disk."""
    folder = tmp_path_factory.mktemp("browser")
    with browser(folder) as opened:
        write_report(
            folder / "report.html",
            findings(
                PARTS,
                data=FACTS,
                embedding=scattered(PARTS),
                pictures=pictures(PARTS),
                **judgement(PARTS),
            ),
        )
        opened.open(folder / "report.html")
        yield opened


def test_the_browser_has_nothing_to_complain_of(page):
    assert page.heard("Log.entryAdded") == []
    assert page.heard("Runtime.exceptionThrown") == []
    assert page.heard("Runtime.consoleAPICalled") == []


def test_only_the_page_itself_is_loaded(page):
    asked = [event["request"]["url"] for event in page.heard("Network.requestWillBeSent")]
    assert asked[0].startswith("file://")
    assert len(asked) > 1
    assert {url.partition(",")[0] for url in asked[1:]} <= {
        "data:image/png;base64",
        "data:image/jpeg;base64",
    }


@pytest.mark.parametrize("width", [1280, 400])
def test_every_figure_is_visible_and_nothing_is_wider_than_the_window(page, width):
    page.resize(width)
    images = page.value(
        "[...document.images].map(i => { const b = i.getBoundingClientRect(); return ["
        "i.complete, i.naturalWidth, i.checkVisibility({opacityProperty: true, "
        "visibilityProperty: true}), b.left, b.right, b.height] })"
    )
    assert len(images) == page.value("document.querySelectorAll('img').length") > 20
    for complete, natural_width, visible, left, right, height in images:
        assert complete
        assert natural_width > 0
        assert visible
        assert 0 <= left < right <= width
        assert height > 20
    assert page.value("document.documentElement.scrollWidth") <= width


def test_a_broken_picture_and_a_script_would_be_noticed(page, tmp_path):
    text = "<script>1</script><img src='data:image/png;base64,AAAA' alt='x'>"
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\">"
    (tmp_path / "bad.html").write_text(f"<!doctype html>{policy}{text}", encoding="utf-8")
    with browser(tmp_path) as other:
        other.open(tmp_path / "bad.html")
        assert other.value("document.images[0].naturalWidth") == 0
        (entry,) = other.heard("Log.entryAdded")
        assert "Content Security Policy" in entry["entry"]["text"]


def test_it_prints_on_paper(page):
    pdf = base64.b64decode(page.ask("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF-")
    assert 3 < pdf.count(b"/Type /Page\n") < 60
