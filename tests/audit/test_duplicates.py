"""Copies are found whatever was done to them, and other fields are not."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from leukemia.audit.duplicates import Pair, duplicate_groups, find_duplicates, thumbnail
from leukemia.classes import Classes
from leukemia.data.augment import scale_stains
from leukemia.data.files.folders import list_images
from leukemia.data.files.images import decode_image, in_threads, read_image
from leukemia.data.synthetic import paint_smears

MARGIN = 8


def encoded(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], 1)


def window(image: np.ndarray, down: int = 0, right: int = 0) -> np.ndarray:
    """What a camera sees that is moved: other content enters at the border."""
    return image[MARGIN + down :, MARGIN + right :][:224, :224]


def restained(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return scale_stains(np.ascontiguousarray(image), rng.uniform(0.75, 1.25, 3))


def shifted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    far, near = MARGIN * int(rng.choice((-1, 1))), int(rng.integers(-MARGIN, MARGIN + 1))
    return window(image, *((far, near) if rng.random() < 0.5 else (near, far)))


CHANGES = {
    "flip": lambda image, rng: window(image)[:, ::-1],
    "turn 90": lambda image, rng: np.rot90(window(image), 1),
    "turn 180": lambda image, rng: np.rot90(window(image), 2),
    "turn 270": lambda image, rng: np.rot90(window(image), 3),
    "flip, turn 90": lambda image, rng: np.rot90(window(image)[:, ::-1], 1),
    "flip, turn 180": lambda image, rng: window(image)[::-1],
    "flip, turn 270": lambda image, rng: np.rot90(window(image)[:, ::-1], 3),
    "jpeg": lambda image, rng: encoded(window(image)),
    "shift": shifted,
    "stain": lambda image, rng: restained(window(image), rng),
    "darker": lambda image, rng: (window(image) * 0.6).astype(np.uint8),
    "all": lambda image, rng: encoded(np.rot90(restained(shifted(image, rng), rng)[::-1])),
}


@dataclass
class Planted:
    thumbnails: np.ndarray  # the fields, then a changed copy of each
    changes: list[str]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("fields") / "painted"
    paint_smears(folder, per_class=27, size=224 + 2 * MARGIN)
    fields = [read_image(path) for path in sorted(folder.rglob("*.jpg"))]
    changes = [list(CHANGES)[i % len(CHANGES)] for i in range(len(fields))]
    rng = np.random.default_rng(0)
    copies = [CHANGES[c](field, rng) for c, field in zip(changes, fields, strict=True)]
    images = [*map(window, fields), *copies]
    return Planted(np.stack([thumbnail(image) for image in images]), changes)


def different(n: int) -> list[str]:
    return [f"file {i}" for i in range(n)]


def rows(pairs: list[Pair]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in pairs}


def test_every_changed_copy_is_found_and_nothing_else(planted: Planted):
    n = len(planted.changes)
    pairs = find_duplicates(planted.thumbnails, different(2 * n))
    assert n == 108
    assert rows(pairs) == {(i, n + i) for i in range(n)}
    assert {pair.kind for pair in pairs} == {"near"}
    turned = {"flip", "turn 90", "turn 180", "turn 270"} | {
        f"flip, turn {t}" for t in (90, 180, 270)
    }
    named = [c if c in turned else "none" for c in planted.changes if c != "all"]
    assert [p.transform for p in pairs if planted.changes[p.first] != "all"] == named
    assert min(pair.correlation for pair in pairs) > 0.95


def test_the_shift_is_told(planted: Planted):
    n = len(planted.changes)
    pairs = find_duplicates(planted.thumbnails, different(2 * n))
    shifts = {
        name: [p.shift for p in pairs if planted.changes[p.first] == name] for name in CHANGES
    }
    # By 8 of 224 pixels in one direction, 0 to 8 in the other; a thumbnail's pixel is 1/64.
    assert all(8 / 224 - 1 / 64 < s < 8 / 224 * 2**0.5 + 1 / 64 for s in shifts["shift"])
    assert {s for name in ("flip", "turn 90", "jpeg", "stain") for s in shifts[name]} == {0.0}


def test_different_fields_are_no_duplicates(planted: Planted):
    fields = planted.thumbnails[: len(planted.changes)]
    assert find_duplicates(fields, different(len(fields))) == []
    # Some are alike at large, when shifted, but not in their detail.
    assert find_duplicates(fields, different(len(fields)), threshold=0.5) == []


def test_the_transform_takes_the_first_to_the_second(planted: Planted):
    field = planted.thumbnails[0]
    turned = np.rot90(field)
    # Interleaved copies: (0, 1) and (2, 1) hold the same two contents, the other way round.
    pairs = find_duplicates(np.stack([field, turned, field]), ["a", "b", "a"])
    assert [(p.first, p.second, p.kind, p.transform) for p in pairs] == [
        (0, 1, "near", "turn 90"),
        (0, 2, "identical", "none"),
        (1, 2, "near", "turn 270"),
    ]


def test_identical_files_are_all_paired_and_do_not_crowd_out_others(planted: Planted):
    field, copy = planted.thumbnails[0], planted.thumbnails[len(planted.changes)]
    pairs = find_duplicates(np.stack([field] * 30 + [copy]), ["a"] * 30 + ["b"])
    assert len(pairs) == 30 * 29 // 2 + 30
    assert [p.kind for p in pairs if p.second == 30] == ["near"] * 30


def test_the_order_of_files_changes_nothing(planted: Planted):
    n = len(planted.thumbnails)
    order = np.random.default_rng(0).permutation(n)
    shuffled = find_duplicates(planted.thumbnails[order], different(n))
    found = {tuple(sorted((int(order[p.first]), int(order[p.second])))) for p in shuffled}
    assert found == rows(find_duplicates(planted.thumbnails, different(n)))


def test_empty_fields_are_like_no_other(planted: Planted):
    across = np.linspace(-1, 1, 64)
    uneven = 230 - 20 * (across[:, None] ** 2 + across**2)
    noise = np.random.default_rng(0).normal(0, 1, (2, 64, 64))
    flat = np.full((2, 64, 64), 200)
    both = np.concatenate([flat, uneven + noise, planted.thumbnails[:1]]).astype(np.uint8)
    assert find_duplicates(both, different(5)) == []
    assert rows(find_duplicates(both, ["a", "a", "b", "c", "d"])) == {(0, 1)}


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_or_none_has_no_duplicate(n: int):
    assert find_duplicates(np.zeros((n, 64, 64), np.uint8), different(n)) == []


def test_groups_join_what_is_paired_through_others():
    def pair(first: int, second: int) -> Pair:
        return Pair(first, second, "near", "none", 1.0)

    assert duplicate_groups([pair(1, 4), pair(4, 5), pair(2, 3)], 7).tolist() == [
        *(0, 1, 2, 2, 1, 1, 3)
    ]
    assert duplicate_groups([], 3).tolist() == [0, 1, 2]


def test_on_the_real_images_all_that_brute_force_finds_is_found(aria: Path):
    names = [file.path for file in list_images(aria, Classes())]

    def look(name: str) -> tuple[str, np.ndarray, np.ndarray]:
        data = (aria / name).read_bytes()
        image = decode_image(data)
        grey = cv2.resize(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA
        )
        return hashlib.sha256(data).hexdigest(), thumbnail(image), grey.ravel()

    hashes, thumbnails, small = zip(*in_threads(look, names), strict=True)
    pairs = find_duplicates(np.stack(thumbnails), hashes)
    equal = np.array(hashes)[:, None] == np.array(hashes)
    same = set(map(tuple, np.argwhere(np.triu(equal, 1)).tolist()))
    like = set(map(tuple, np.argwhere(np.triu(np.corrcoef(small), 1) > 0.9).tolist()))
    assert len(same) == 40
    assert {(p.first, p.second) for p in pairs if p.kind == "identical"} == same
    assert len(like) == 86
    assert like <= rows(pairs)
    # The others show the same field from a little further on.
    others = [pair for pair in pairs if (pair.first, pair.second) not in like]
    assert 0 < len(others) < 80
    assert all(pair.shift > 0 and pair.correlation > 0.9 for pair in others)
