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
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.disk import building
from leukemia.errors import UserError, check_count

_FINE = 2  # painted this much larger, then reduced: smooth edges
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class _Morphology:
    """Nucleated cells of a class; lengths in pixels of a 224-pixel image."""

    radius: float
    spread: float  # of the radius, relative
    irregular: float  # waviness of the outline, relative
    cleft: float  # probability of an indented nucleus
    nucleoli: float  # mean number
    chromatin: float  # contrast of the texture inside the nucleus
    nucleus: float  # radius of the nucleus in that of the cell


CLASSES = {
    "Benign": _Morphology(13.5, 0.10, 0.02, 0.05, 0.1, 4.0, 0.80),
    "Early": _Morphology(16.0, 0.14, 0.04, 0.20, 0.6, 7.0, 0.83),
    "Pre": _Morphology(18.5, 0.16, 0.06, 0.45, 1.3, 10.0, 0.87),
    "Pro": _Morphology(21.5, 0.18, 0.08, 0.50, 2.4, 13.0, 0.91),
}
_STAINED = 4600.0  # square pixels of nucleated cells an image, in every class


@dataclass(frozen=True)
class Acquisition:
    """Stain and light of one group of images."""

    background: NDArray[np.float64]
    red_cell: NDArray[np.float64]
    cytoplasm: NDArray[np.float64]
    nucleus: NDArray[np.float64]
    blur: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Acquisition":
        """Return stain and light of a new group."""
        cast = rng.normal(0, 7, 3)
        return cls(
            background=np.array([232, 222, 228]) + cast + rng.normal(0, 5),
            red_cell=np.array([214, 168, 178]) + cast + rng.normal(0, 6, 3),
            cytoplasm=np.array([168, 150, 206]) + cast + rng.normal(0, 8, 3),
            nucleus=np.array([106, 62, 142]) + cast + rng.normal(0, 10, 3),
            blur=rng.uniform(0.5, 1.1),
            noise=rng.uniform(1.5, 4.0),
        )


def smear(kind: _Morphology, light: Acquisition, size: int, rng: np.random.Generator) -> Image:
    """Return a smear (size, size, 3) of cells of one kind, RGB."""
    side, unit = size * _FINE, size * _FINE / 224
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = light.background
    for _ in range(rng.integers(22, 36)):
        _red_cell(canvas, light, unit, rng)
    taken: list[tuple[float, float, float]] = []
    area = 0.0
    while area < _STAINED * rng.uniform(0.85, 1.15):
        radius = kind.radius * max(0.6, rng.normal(1, kind.spread))
        for _ in range(40):
            x, y = rng.uniform(0.08, 0.92, 2) * side
            if all(np.hypot(x - a, y - b) > 0.9 * (radius * unit + c) for a, b, c in taken):
                break
        taken.append((x, y, radius * unit))
        _nucleated_cell(canvas, x, y, radius * unit, kind, light, rng)
        area += np.pi * radius**2
    fall = rng.uniform(-0.06, 0.06, 2)
    grid = np.linspace(-1, 1, side)
    light_field = 1 + fall[0] * grid[:, None] + fall[1] * grid[None, :]
    canvas *= (light_field * rng.uniform(0.95, 1.05))[..., None].astype(np.float32)
    blurred = cv2.GaussianBlur(canvas, (0, 0), light.blur * _FINE)
    small = np.asarray(cv2.resize(blurred, (size, size), interpolation=cv2.INTER_AREA))
    noisy: Image = np.clip(small + rng.normal(0, light.noise, small.shape), 0, 255).astype(np.uint8)
    return noisy


def _outline(
    x: float, y: float, radius: float, irregular: float, rng: np.random.Generator
) -> NDArray[np.int32]:
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    wave = sum(
        rng.normal(0, irregular / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi)) * 2
        for order in (2, 3, 4, 5)
    )
    reach = radius * (1 + wave)
    points = np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)
    return np.round(points).astype(np.int32)


def _red_cell(
    canvas: NDArray[np.float32], light: Acquisition, unit: float, rng: np.random.Generator
) -> None:
    x, y = rng.uniform(0, canvas.shape[0], 2)
    radius = rng.normal(13, 1) * unit
    shade = light.red_cell + rng.normal(0, 4)
    cv2.fillPoly(canvas, [_outline(x, y, radius, 0.02, rng)], shade.tolist())
    pale = 0.55 * shade + 0.45 * light.background
    cv2.circle(
        canvas, (round(x), round(y)), round(radius * rng.uniform(0.3, 0.45)), pale.tolist(), -1
    )


def _nucleated_cell(
    canvas: NDArray[np.float32],
    x: float,
    y: float,
    radius: float,
    kind: _Morphology,
    light: Acquisition,
    rng: np.random.Generator,
) -> None:
    # Only the window around the cell is touched: it is a fraction of the canvas.
    half = round(radius * 1.6)
    left, top = max(0, round(x) - half), max(0, round(y) - half)
    canvas = canvas[top : round(y) + half, left : round(x) + half]
    x, y = x - left, y - top
    window = np.ascontiguousarray(canvas)
    cell = _outline(x, y, radius, kind.irregular / 2, rng)
    cv2.fillPoly(window, [cell], (light.cytoplasm + rng.normal(0, 4)).tolist())
    inner = radius * kind.nucleus * rng.uniform(0.95, 1.05)
    shift = rng.normal(0, (radius - inner) * 0.4, 2)
    x, y = x + shift[0], y + shift[1]
    inside = np.zeros(window.shape[:2], np.uint8)
    cv2.fillPoly(inside, [_outline(x, y, inner, kind.irregular, rng)], 1)
    if rng.random() < kind.cleft:
        angle = rng.uniform(0, 2 * np.pi)
        bite = (round(x + inner * np.cos(angle)), round(y + inner * np.sin(angle)))
        cv2.circle(inside, bite, round(inner * rng.uniform(0.25, 0.45)), 0, -1)
    grain = cv2.GaussianBlur(rng.normal(0, 1, inside.shape), (0, 0), radius / 9)
    texture = kind.chromatin * grain / max(grain.std(), 1e-9)
    shade = light.nucleus + rng.normal(0, 6)
    where = inside > 0
    window[where] = shade + texture[where][:, None]
    for _ in range(rng.poisson(kind.nucleoli)):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6) * inner
        spot = (round(x + far * np.cos(angle)), round(y + far * np.sin(angle)))
        pale = 0.6 * shade + 0.4 * light.cytoplasm
        cv2.circle(window, spot, round(inner * rng.uniform(0.13, 0.2)), pale.tolist(), -1)
    canvas[:] = window


FORMAT = 1  # raise it when the same settings come to paint other pixels
_MARKER = ".painted.json"


def paint_smears(
    folder: str | Path, *, per_class: int = 100, seed: int = 0, size: int = 224, groups: int = 8
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
    folder = Path(folder)
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
            return ""  # of other settings, or without checksums
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
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"cannot be read ({error})"
    return f"are damaged ({len(differ)} of {len(sums)} files)" if differ else None
