"""What tells classes apart without any cell being looked at: colour, background, corner, file."""

import io
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukemia.data.colour import lab_histogram
from leukemia.data.regions import Regions, corner, outside_corner

Features = NDArray[np.float32]

CUES: Final = {
    "mean colour": "mean L, a, b outside the corner",
    "colour histogram": "32 bins of each of L, a, b outside the corner",
    "background": "the same histograms of the glass alone, cells and corner removed",
    "lower right corner": "the corner of the scale bar, as 14 x 9 pixels",
    "file": "size in bytes, width, height, JPEG quantisation tables",
}
"""The cues, and what each is made of."""

_CORNER: Final = (14, 9)  # width, height


def read_cues(data: bytes, rgb: NDArray[np.uint8], regions: Regions) -> dict[str, Features]:
    """Return the features of each of `CUES`.

    Args:
        data: the file.
        rgb: its picture, (H, W, 3), uint8.
        regions: of the picture.

    Returns:
        Vectors whose lengths are the same for all images.
    """
    lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), dtype=np.uint8)
    outside = lab[outside_corner(rgb.shape)]
    right = rgb[corner(rgb.shape)]
    if not right.size:  # in an image of a pixel or three
        right = rgb[-1:, -1:]
    small = cv2.resize(np.ascontiguousarray(right), _CORNER, interpolation=cv2.INTER_AREA)
    return {
        "mean colour": outside.mean(axis=0, dtype=np.float64).astype(np.float32),
        "colour histogram": lab_histogram(outside).astype(np.float32),
        "background": lab_histogram(lab[regions.background]).astype(np.float32),
        "lower right corner": small.ravel().astype(np.float32),
        "file": _file(data),
    }


def _file(data: bytes) -> Features:
    with Image.open(io.BytesIO(data)) as image:
        tables = getattr(image, "quantization", {})
        width, height = image.size
    steps = [tables.get(k, [0] * 64) for k in (0, 1)]
    return np.array([np.log(len(data)), width, height, *steps[0], *steps[1]], np.float32)
