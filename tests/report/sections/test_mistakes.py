import io
import re
from base64 import b64decode

import numpy as np
from PIL import Image

from leukemia.classes import Classes
from leukemia.measure.predictions import Predictions
from leukemia.report.mistakes import gallery, worst_mistakes
from tests.report.samples import findings, noise

ROWS = np.array(
    [[0.9, 0.1, 0, 0], [0.2, 0.8, 0, 0], [0, 0.05, 0.95, 0], [0.4, 0, 0.6, 0], [0.7, 0, 0, 0.3]]
)
PART = Predictions(
    ("missed.jpg", "found.jpg", "confused.jpg", "alarm.jpg", "missed too.jpg"),
    np.array([1, 1, 1, 0, 3]),
    ROWS,
    Classes(),
)


def test_missed_cancers_come_before_more_confident_mistakes():
    assert [PART.files[i] for i in worst_mistakes(PART)] == [
        "missed.jpg", "missed too.jpg", "confused.jpg", "alarm.jpg"
    ]  # fmt: skip
    assert worst_mistakes(PART, most=1) == [0]


def test_a_case_shows_its_views_and_says_what_was_said():
    shown = {0: {"image": noise(0), "Grad-CAM": noise(1, side=100)}, 3: {"image": noise(2)}}
    source = "".join(gallery(findings({"test": PART}, pictures={"test": shown}), 10**6))
    assert "test: 2 of 4 mistakes" in source
    assert re.findall('alt="(.*?)"', source) == [
        "missed.jpg: Early called Benign; image",
        "missed.jpg: Early called Benign; Grad-CAM",
        "alarm.jpg: Benign called Pre; image",
    ]
    assert "P(Benign) 0.900, P(Early) 0.100, P(cancer) 0.100" in source
    drawn = [Image.open(io.BytesIO(b64decode(x))) for x in re.findall('base64,(.*?)"', source)]
    assert [image.size for image in drawn] == [(224, 224), (100, 100), (224, 224)]
    assert {image.format for image in drawn} == {"JPEG"}


def test_a_picture_in_the_page_looks_like_the_picture():
    picture = np.zeros((448, 448, 3), np.uint8)
    picture[:, 224:] = (200, 30, 120)
    shown = {"test": {0: {"image": picture}}}
    source = "".join(gallery(findings({"test": PART}, pictures=shown), 10**6))
    found = Image.open(io.BytesIO(b64decode(re.search('base64,(.*?)"', source)[1])))
    assert found.size == (224, 224)
    assert np.abs(np.subtract(found.getpixel((30, 30)), (0, 0, 0))).max() < 8
    assert np.abs(np.subtract(found.getpixel((200, 30)), (200, 30, 120))).max() < 8


def test_pictures_are_left_out_from_where_they_no_longer_fit():
    shown = {"test": {row: {"image": noise(row)} for row in (0, 2, 3, 4)}}
    found = findings({"test": PART}, pictures=shown)
    whole = "".join(gallery(found, 10**6))
    one_and_a_half = len(whole.split("<figure>")[1]) * 3 // 2
    less = "".join(gallery(found, one_and_a_half))
    assert (whole.count("<img"), less.count("<img")) == (4, 1)
    assert "missed.jpg" in less
    assert "test: 1 of 4 mistakes" in less


def test_no_pictures_no_section():
    assert list(gallery(findings({"test": PART}), 10**6)) == []
    assert list(gallery(findings({"test": PART}, pictures={"test": {}}), 10**6)) == []
