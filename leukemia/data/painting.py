"""Draws one smear at a time: what `leukemia.data.synthetic` fills folders with."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

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
