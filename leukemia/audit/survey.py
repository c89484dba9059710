"""One pass over the images of a dataset, of which small numbers are kept."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.audit.acquisition import appearance
from leukemia.audit.duplicates import thumbnail
from leukemia.audit.health import CUES, Health, examine, read_cues
from leukemia.data.files.images import BadImage, decode_image, read_bytes, unexpected
from leukemia.data.files.manifest import Manifest
from leukemia.data.files.threads import in_threads
from leukemia.data.image.nuclei import find_regions
from leukemia.data.image.preprocess import shrink
from leukemia.data.image.scale_bar import remove_scale_bar

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
