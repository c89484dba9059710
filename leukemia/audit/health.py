"""Every image once: whether it is fit for use, its cues, and what duplicates are found by."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from leukemia.audit.acquisition import appearance
from leukemia.audit.duplicates import thumbnail
from leukemia.data.files.images import BadImage, decode_image, in_threads, read_bytes, unexpected
from leukemia.data.files.manifest import Manifest
from leukemia.data.image.mask import Regions, corner, find_nuclei, find_regions, outside_corner
from leukemia.data.image.preprocess import lab_histogram, shrink
from leukemia.data.image.scale_bar import find_scale_bar, remove_scale_bar

STYLES: Final = ("none", "red", "black", "box", "large box")
"""Scale bars: none, red ink, black ink on the smear, black ink on a white box, low or high."""

_CLIPPED: Final = 3  # values from either end of 0 to 255 that hold no detail
_NUCLEUS: Final = 50  # least area in pixels of an image 224 wide; platelets and debris are smaller
_DARK: Final = 0.65
_STAINED: Final = (0.85, 20)
"""A nucleus is darker in green than a share of the background; a pale one less so, but then it is
more magenta (a* of 8-bit LAB), which red cells are not."""

_SCARLET: Final = (75, 5)  # by how much red exceeds green in red ink, and in how many pixels
_LARGE: Final = 0.1  # of the image's height


class Health(NamedTuple):
    """What one image is like.

    Args:
        blur: variance of the Laplacian of grey values; low where nothing is sharp
            (doi:10.1016/j.patcog.2012.11.011).
        under: share of pixels with a channel clipped at black, in [0, 1].
        over: share of pixels with all channels clipped at white, in [0, 1].
        nuclei: how many nuclei were found, touching ones as one.
        bar: row of `STYLES`.
    """

    blur: float
    under: float
    over: float
    nuclei: int
    bar: int


def examine(rgb: NDArray[np.uint8], regions: Regions) -> Health:
    """Measure an image; a scale bar counts for nothing but its style.

    Args:
        rgb: (H, W, 3), uint8.
        regions: of the same image.
    """
    bar = find_scale_bar(rgb)
    kept = ~bar
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_32F)[cv2.erode(kept.astype(np.uint8), np.ones((3, 3))) > 0]
    pixels = rgb[kept]
    return Health(
        blur=float(edges.var()) if len(edges) else 0.0,
        under=float((pixels.min(axis=1) <= _CLIPPED).mean()) if len(pixels) else 0.0,
        over=float((pixels.min(axis=1) >= 255 - _CLIPPED).mean()) if len(pixels) else 0.0,
        nuclei=_count_nuclei(rgb, regions, bar),
        bar=_style(rgb, bar),
    )


def _count_nuclei(rgb: NDArray[np.uint8], regions: Regions, bar: NDArray[np.bool_]) -> int:
    if not regions.background.any():
        return 0
    # Otsu's threshold parts even an empty field, into noise and noise.
    magenta = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[..., 1].astype(np.int16)
    green = rgb[..., 1] / np.median(rgb[..., 1][regions.background])
    pale, more = _STAINED
    excess = magenta - np.median(magenta[regions.background])
    stained = (green < _DARK) | ((green < pale) & (excess > more))
    nuclei = (find_nuclei(rgb) & stained & ~bar).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(nuclei)
    return int((stats[1:, cv2.CC_STAT_AREA] >= _NUCLEUS * (rgb.shape[1] / 224) ** 2).sum())


def _style(rgb: NDArray[np.uint8], bar: NDArray[np.bool_]) -> int:
    if not bar.any():
        return STYLES.index("none")
    pixels = rgb[bar].astype(np.int16)
    excess, area = _SCARLET
    if (pixels[:, 0] - pixels[:, 1] > excess).sum() >= area * (rgb.shape[1] / 224) ** 2:
        return STYLES.index("red")
    if (pixels.min(axis=1) >= 240).mean() < 0.25:
        return STYLES.index("black")
    rows = np.flatnonzero(bar.any(axis=1))
    large = rows[-1] - rows[0] + 1 > _LARGE * rgb.shape[0]
    return STYLES.index("large box" if large else "box")


def unfit(
    found: Sequence[Health], *, blur: float = 3.5, exposure: float = 0.2
) -> dict[str, list[int]]:
    """Return the rows of the images that somebody should look at, by what is wrong.

    Args:
        found: of N images.
        blur: an image is blurred where the logarithm of its `Health.blur` lies this many robust
            standard deviations (1.4826 times the median deviation) below the median.
        exposure: share of clipped pixels from which on an image is under- or over-exposed.
    """
    sharp = np.log(np.array([max(one.blur, 1e-6) for one in found]))
    middle = np.median(sharp)
    deviation = max(1.4826 * float(np.median(np.abs(sharp - middle))), 1e-6)
    wrong = {
        "blurred": sharp < middle - blur * deviation,
        "under-exposed": [one.under >= exposure for one in found],
        "over-exposed": [one.over >= exposure for one in found],
        "no nucleus found": [one.nuclei == 0 for one in found],
    }
    return {what: np.flatnonzero(rows).tolist() for what, rows in wrong.items()}


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


SIDE: Final = 224
"""Larger photographs are shrunk to this shorter side, so that lengths in pixels mean the same."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What was kept of N images, about 6 KB of each.

    Args:
        rows: which rows of the manifest they are, ascending, (N,).
        lost: the other rows, and why they could not be measured.
        thumbnails: (N, 64, 64), for `find_duplicates`.
        appearances: (N, 9), for `find_groups`.
        cues: by the names of `CUES`, (N, d) each.
        health: of each image.
    """

    rows: NDArray[np.int64]
    lost: dict[int, str]
    thumbnails: NDArray[np.uint8]
    appearances: NDArray[np.float64]
    cues: dict[str, NDArray[np.float32]]
    health: tuple[Health, ...]


class _Kept(NamedTuple):
    thumbnail: NDArray[np.uint8]
    appearance: NDArray[np.float64]
    cues: dict[str, NDArray[np.float32]]
    health: Health


def survey(
    root: Path,
    manifest: Manifest,
    *,
    scale_bar: str = "keep",
    workers: int | None = None,
    progress: bool = True,
) -> Survey:
    """Measure every image of a manifest.

    Args:
        root: the dataset's folder.
        manifest: the N images.
        scale_bar: ``remove`` paints it over before the cues are read, which are what a network
            could go by; groups and health still see it.
        workers: threads; ``None`` for one a core.
        progress: whether a bar is shown on a terminal.

    Returns:
        Of the images that are still what the manifest says.
    """

    def measure(row: int) -> _Kept | BadImage:
        try:
            data = read_bytes(root / manifest.files[row])
            if hashlib.sha256(data).hexdigest() != manifest.sha256[row]:
                return BadImage("changed since the folder was listed")
            return _measure(data, scale_bar)
        except BadImage as error:
            return error
        # One file never takes what is said of the others with it.
        except Exception as error:
            return unexpected(error)

    found = list(
        tqdm(
            in_threads(measure, range(len(manifest)), workers=workers),
            "auditing",
            len(manifest),
            leave=False,
            disable=None if progress else True,
            unit="image",
        )
    )
    kept = [one for one in found if not isinstance(one, BadImage)]
    lost = {row: str(one) for row, one in enumerate(found) if isinstance(one, BadImage)}
    return Survey(
        rows=np.setdiff1d(np.arange(len(found)), list(lost)).astype(np.int64),
        lost=lost,
        thumbnails=np.array([one.thumbnail for one in kept]),
        appearances=np.array([one.appearance for one in kept]),
        cues={name: np.array([one.cues[name] for one in kept]) for name in CUES},
        health=tuple(one.health for one in kept),
    )


def _measure(data: bytes, scale_bar: str) -> _Kept:
    rgb = shrink(decode_image(data), SIDE)
    regions = find_regions(rgb)
    clean = remove_scale_bar(rgb) if scale_bar == "remove" else rgb
    cues = read_cues(data, clean, regions if clean is rgb else find_regions(clean))
    return _Kept(thumbnail(rgb), appearance(rgb, regions), cues, examine(rgb, regions))
