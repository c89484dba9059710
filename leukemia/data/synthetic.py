"""Painted smears: a data set without a download, on which everything can be tried.

The classes differ in the shape of their nucleated cells (size, outline, nucleoli, chromatin),
while stain, light and the stained area come from acquisition groups that all classes share: a
colour histogram learns little. They look like smears and say nothing about leukemia.
"""

import contextlib
import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from leukemia.check import check_count
from leukemia.data.painting import CLASSES, Acquisition, smear
from leukemia.errors import UserError
from leukemia.leftovers import building

FORMAT = 1  # raise it when the same settings come to paint other pixels
_MARKER = ".painted.json"


def paint_smears(
    folder: Path, *, per_class: int = 100, seed: int = 0, size: int = 224, groups: int = 8
) -> Path:
    """Paint a class folder of smears, or find it painted already, and check its files.

    Their sha256 are kept beside them: 400 images, 7 MB, are checked in 0.05 s. A painting in which
    one is damaged or missing is painted again.

    Args:
        folder: receives ``Benign/WBC-Benign-001.jpg`` and so on.
        per_class: images a class.
        seed: the same seed paints the same bytes.
        size: side of an image in pixels.
        groups: acquisition groups, of neighbouring numbers, shared by all classes.

    Returns:
        The folder.

    Raises:
        UserError: a seed that is no whole number from 0 on, another number that is none from 1 on,
            or a folder that cannot be written or holds other files too.
    """
    check_count("data.paint_seed", seed, least=0)
    for key, value in (("data.per_class", per_class), ("groups", groups), ("size", size)):
        check_count(key, value)
    settings = {
        "format": FORMAT,
        "per_class": per_class,
        "seed": seed,
        "size": size,
        "groups": groups,
    }
    marker = folder / _MARKER
    try:
        fault = _fault(marker, settings)
        if fault is None:
            return folder
        if fault:
            print(f"The smears in '{folder}' {fault}: they are painted again.", file=sys.stderr)
        foreign = not marker.is_file() and folder.is_dir() and any(folder.iterdir())
        if foreign or folder.is_file():
            raise UserError(
                f"'{folder}' is or holds something else: name an empty folder for painted smears."
            )
        with building(folder.parent) as own, building(folder.parent) as old:
            # Before ours is painted: then it may be what another process painted meanwhile, and
            # reads.
            with contextlib.suppress(FileNotFoundError):
                folder.rename(old)
            _paint_all(own, settings)
            own.rename(folder)  # fails where another process was first; its painting is the same
    except OSError as error:
        if _fault(marker, settings) is not None:
            raise UserError(f"Cannot paint smears into '{folder}': {error}.") from error
    return folder


def _paint_all(folder: Path, settings: dict[str, int]) -> None:
    """Paint all smears into a new folder, and write down of what they are."""
    seed, groups, per_class = (settings[key] for key in ("seed", "groups", "per_class"))
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    lights = [Acquisition.draw(np.random.default_rng([seed, 0, g])) for g in range(groups)]

    def paint(job: tuple[int, int]) -> tuple[str, str]:
        label, number = job
        name = list(CLASSES)[label]
        rng = np.random.default_rng([seed, 1, label, number])
        light = lights[number * groups // per_class]
        image = smear(CLASSES[name], light, settings["size"], rng)
        file = f"{name}/WBC-{name}-{number + 1:03d}.jpg"
        # `imwrite` would say nothing of a full disk.
        _, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        data = encoded.tobytes()
        (folder / file).write_bytes(data)
        return file, hashlib.sha256(data).hexdigest()

    jobs = [(label, number) for label in range(len(CLASSES)) for number in range(per_class)]
    with ThreadPoolExecutor() as pool:
        done = pool.map(paint, jobs)
        sums = dict(tqdm(done, "painting", total=len(jobs), leave=False, disable=None))
    (folder / _MARKER).write_text(json.dumps({**settings, "sha256": sums}))


def _fault(marker: Path, settings: dict[str, int]) -> str | None:
    """Return why smears must be painted: ``None`` if they need not, '' if there are none.

    Raises:
        UserError: files were added, which a new painting would remove.
    """
    folder = marker.parent
    try:
        painted = json.loads(marker.read_text())
        sums = painted.pop("sha256", None)
        if painted != settings or not isinstance(sums, dict):
            return ""  # of other settings, or without checksums (an earlier version's)
        here = [
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if not path.is_dir() and not path.name.startswith(".")
        ]
        if added := [file for file in here if file not in sums]:
            raise UserError(
                f"'{folder}' holds files that were not painted, such as '{added[0]}': move them, "
                f"or use a copy of the folder (data=folder data.root=...)."
            )
        differ = [
            file
            for file, known in sums.items()
            if file not in here or hashlib.sha256((folder / file).read_bytes()).hexdigest() != known
        ]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, AttributeError) as error:
        return f"cannot be read ({error})"
    return f"are damaged ({len(differ)} of {len(sums)} files)" if differ else None
