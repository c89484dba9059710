"""The page in a real browser: what a person sees and does."""

import csv
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from leukemia.data.synthetic import paint_smears
from tests.browser import NAMES

api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def address(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "leukemia.serve", f"run={finished}", f"port={port}", "runtime.threads=1"]
    served = subprocess.Popen([sys.executable, *words], cwd=tmp_path_factory.mktemp("server"))
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert served.poll() is None
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/"
    finally:
        served.terminate()
        assert served.wait(20) is not None


@pytest.fixture
def page(address: str) -> Iterator[object]:
    """The page, which may log nothing to the console and ask no other host."""
    chromium = next((path for name in NAMES if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no Chromium here")
    wrong: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        shown = browser.new_page(viewport={"width": 1100, "height": 900})
        shown.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on(
            "request",
            lambda asked: (
                wrong.append(asked.url)
                if not asked.url.startswith((address, "blob:", "data:"))
                else None
            ),
        )
        shown.goto(address)
        yield shown
        browser.close()
    assert wrong == []


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = paint_smears(tmp_path_factory.mktemp("seen"), per_class=3, size=64)
    return sorted(path for path in folder.rglob("*.*") if path.suffix in (".png", ".jpg"))


def test_from_images_to_labels(page, images, tmp_path):
    bad = tmp_path / "broken.png"
    bad.write_bytes(images[0].read_bytes()[:60])
    page.set_input_files("#files", [*map(str, images), str(bad)])
    api.expect(page.locator(".row")).to_have_count(13, timeout=60_000)
    rows = page.locator(".row")
    # Those for a human come first, and what cannot be read before all.
    assert "The file cannot be used" in rows.nth(0).inner_text()
    assert "for a human" in page.locator("#state").inner_text()
    said = page.locator(".row .said").all_inner_texts()
    decisions = ["refer" if "refer" in text else "accept" for text in said]
    assert decisions == sorted(decisions, reverse=True)
    # By keys alone: the second row, where it looks, and a label.
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".heat img", timeout=60_000)
    assert page.evaluate("document.querySelector('.heat img').naturalWidth") > 100
    page.keyboard.press("2")
    with page.expect_download() as saved:
        page.click("#export")
    saved.value.save_as(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 13
    assert [row["label"] for row in table if row["label"]] == ["Early"]
    assert [bool(row["error"]) for row in table].count(True) == 1


def test_a_thousand_images(page, images):
    many = [
        dict(name=f"{n:04d}.png", mimeType="image/png", buffer=images[n % 12].read_bytes())
        for n in range(1000)
    ]
    page.set_input_files("#files", many)
    state = page.locator("#state")
    api.expect(state).to_contain_text("1000 images judged", timeout=280_000)
    assert page.locator(".row").count() == 1000


@pytest.mark.parametrize("width", [400, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_leaves_the_screen(page, images, width, scheme, tmp_path):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.set_input_files("#files", [str(path) for path in images[:4]])
    api.expect(page.locator(".row")).to_have_count(4, timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    picture = tmp_path / "page.png"
    page.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 10_000
