"""Shared images are found whatever was done to the file, and no others are."""

import cv2
import numpy as np
import pytest

from leukemia.data.split.guard import shared_images, thumbnails


def field(seed: int) -> np.ndarray:
    """A pale field with dark round cells at random places."""
    rng = np.random.default_rng(seed)
    image = np.full((224, 224, 3), 230, np.uint8)
    for x, y in rng.integers(20, 204, size=(6, 2)).tolist():
        cv2.circle(image, (x, y), int(rng.integers(8, 20)), (120, 60, 160), -1)
    return image


def encoded(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        encoded,
        lambda x: x[:, ::-1],
        lambda x: np.rot90(x, 3),
        lambda x: encoded(np.rot90(x[::-1])),
        lambda x: (x * 0.7).astype(np.uint8),
    ],
    ids=["same", "jpeg", "mirrored", "turned", "mirrored, turned, jpeg", "darker"],
)
def test_a_changed_copy_is_found(change):
    ours = thumbnails(np.stack([field(100), np.ascontiguousarray(change(field(3)))]))
    theirs = thumbnails(np.stack([field(i) for i in range(10)]))
    assert shared_images(ours, theirs) == [(1, 3)]


def test_other_fields_are_not():
    ours = thumbnails(np.stack([field(i) for i in range(100, 160)]))
    theirs = thumbnails(np.stack([field(i) for i in range(60)]))
    assert shared_images(ours, theirs) == []


def test_fields_without_cells_are_like_no_other():
    empty = np.zeros((2, 224, 224, 3), np.uint8)
    assert shared_images(thumbnails(empty), thumbnails(empty)) == []


def test_nothing_is_shared_with_nothing():
    none = np.empty((0, 32, 32), np.uint8)
    some = thumbnails(np.stack([field(1)]))
    assert shared_images(none, some) == shared_images(some, none) == []
