"""Image health, and what is read off an image beside it."""

import cv2
import numpy as np
import pytest

from leukemia.audit.health import CUES, STYLES, Health, examine, read_cues, survey, unfit
from leukemia.classes import Classes
from leukemia.data.files.manifest import build_manifest
from leukemia.data.image.mask import corner, find_regions


def smear(nuclei: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    picture = np.full((224, 224, 3), (225, 210, 220), np.uint8)
    for x in (40, 100, 160):
        cv2.circle(picture, (x, 150), 12, (205, 160, 175), -1)
    for k in range(nuclei):
        cv2.circle(picture, (40 + 55 * k, 60), 14, (105, 60, 140), -1)
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def look(picture: np.ndarray) -> Health:
    return examine(picture, find_regions(picture))


def test_nuclei_are_counted_and_an_empty_field_has_none():
    assert [look(smear(n)).nuclei for n in (0, 1, 3)] == [0, 1, 3]
    assert look(np.full((50, 60, 3), 200, np.uint8)).nuclei == 0


def test_a_blurred_image_is_less_sharp():
    assert look(cv2.GaussianBlur(smear(), (0, 0), 3)).blur < 0.2 * look(smear()).blur


def test_clipped_pixels_are_counted_at_both_ends():
    bright, dark = smear(), smear()
    bright[:112, :112], dark[:112] = 255, 0
    assert look(bright).over == pytest.approx(0.25, abs=0.01)
    assert look(dark).under == pytest.approx(0.5, abs=0.01)
    assert (look(smear()).over, look(smear()).under) == (0, 0)


@pytest.mark.parametrize(
    ("style", "box", "ink"),
    [
        ("none", None, None),
        ("red", None, (230, 20, 20)),
        ("black", None, (10, 10, 10)),
        ("box", (204, 214), (10, 10, 10)),
        ("large box", (190, 217), (10, 10, 10)),
    ],
)
def test_scale_bars_are_told_apart(style, box, ink):
    picture = smear()
    if box:
        picture[box[0] : box[1], 186:216] = 255
    if ink:
        cv2.line(picture, (190, 209), (212, 209), ink, 2)
    if style == "large box":
        cv2.putText(picture, "200", (191, 204), cv2.FONT_HERSHEY_SIMPLEX, 0.35, ink)
    assert STYLES[look(picture).bar] == style


def test_what_is_unfit_is_named():
    usual = [Health(100.0 + k, 0, 0, 5, 0) for k in range(9)]
    odd = [Health(1, 0, 0, 5, 0), Health(100, 0.3, 0, 5, 0), Health(100, 0, 0.3, 0, 0)]
    assert unfit([*usual, *odd]) == {
        "blurred": [9],
        "under-exposed": [10],
        "over-exposed": [11],
        "no nucleus found": [11],
    }


def test_each_cue_looks_where_its_name_says():
    picture = smear()
    marked, recoloured = picture.copy(), picture.copy()
    marked[corner(picture.shape)] = 0
    recoloured[50:70, 30:50] = picture[50:70, 30:50, ::-1]  # inside a nucleus

    def changed(other: np.ndarray) -> set[str]:
        data = cv2.imencode(".jpg", picture)[1].tobytes()
        one, two = (read_cues(data, x, find_regions(x)) for x in (picture, other))
        assert set(one) == set(CUES)
        return {name for name in CUES if not np.array_equal(one[name], two[name])}

    assert changed(marked) == {"lower right corner"}
    assert changed(recoloured) == {"mean colour", "colour histogram"}


@pytest.mark.parametrize("scale_bar", ["keep", "remove"])
def test_an_audit_takes_images_of_a_few_pixels(tmp_path, scale_bar):
    sizes = [(1, 1), (2, 2), (3, 3), (4, 4), (1, 300), (300, 1)]
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        for number, size in enumerate(sizes):
            pixels = np.full((*size, 3), 100, np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), pixels)
    manifest = build_manifest(tmp_path, Classes(("A", "B"), benign="A"))
    found = survey(tmp_path, manifest, scale_bar=scale_bar, progress=False)
    assert found.cues["lower right corner"].tolist() == [[100.0] * (14 * 9 * 3)] * 12
    assert np.isfinite(np.hstack(list(found.cues.values()))).all()


def test_a_file_saved_in_another_quality_is_told_by_its_tables():
    picture = smear()
    files = [
        cv2.imencode(suffix, picture, options)[1].tobytes()
        for suffix, options in (
            (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
            (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 80]),
            (".png", []),
        )
    ]
    tables = [read_cues(data, picture, find_regions(picture))["file"][3:] for data in files]
    assert tables[0].sum() < tables[1].sum()
    assert not tables[2].any()
