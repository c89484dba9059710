"""One pass over the images of a dataset, of which small numbers are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.data.acquisition import appearance
from leukemia.data.crop import shrink
from leukemia.data.cues import CUES, read_cues
from leukemia.data.duplicates import thumbnail
from leukemia.data.files import BadImage, decode_image, read_bytes
from leukemia.data.health import Health, examine
from leukemia.data.manifest import Manifest
from leukemia.data.pool import in_threads
from leukemia.data.regions import find_regions
from leukemia.data.scale_bar import remove_scale_bar
from leukemia.errors import UserError

SIDE: Final = 224
"""Larger photographs are shrunk to this shorter side, so that lengths in pixels mean the same."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What was kept of N images, about 6 KB of each.

    Args:
        thumbnails: (N, 64, 64), for `find_duplicates`.
        appearances: (N, 9), for `find_groups`.
        cues: by the names of `CUES`, (N, d) each.
        health: of each image.
    """

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

    Raises:
        UserError: a file has changed since the manifest was made.
    """

    def measure(file: str) -> _Kept:
        try:
            return _measure(read_bytes(root / file), scale_bar)
        except BadImage as error:
            raise UserError(f"'{root / file}' has changed just now: {error}. Try again.") from error

    kept = list(
        tqdm(
            in_threads(measure, manifest.files, workers=workers),
            "auditing",
            len(manifest),
            leave=False,
            disable=None if progress else True,
            unit="image",
        )
    )
    return Survey(
        thumbnails=np.stack([one.thumbnail for one in kept]),
        appearances=np.stack([one.appearance for one in kept]),
        cues={name: np.stack([one.cues[name] for one in kept]) for name in CUES},
        health=tuple(one.health for one in kept),
    )


def _measure(data: bytes, scale_bar: str) -> _Kept:
    rgb = shrink(decode_image(data), SIDE)
    regions = find_regions(rgb)
    clean = remove_scale_bar(rgb) if scale_bar == "remove" else rgb
    cues = read_cues(data, clean, regions if clean is rgb else find_regions(clean))
    return _Kept(thumbnail(rgb), appearance(rgb, regions), cues, examine(rgb, regions))
