"""Painted folders in the layouts of other people's data."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.commands import QUIET

# A training of seconds, of the network of `SMALL` from scratch.
SHORT = [
    "experiment=finetuned",
    "mask=none",
    "model.backbone.name=shufflenet_v2_x0_5",
    "model.backbone.weights=null",
    "crop.size=32",
    "stage.finetune.epochs=2",
    "stage.finetune.batch_size=8",
    "runtime.tta=false",
    "runtime.threads=1",
    "runtime.save_every=0",
    QUIET,
]

FIVE = ("Basophil", "Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil")
EIGHT = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil",
         "platelet")  # fmt: skip
THIRTY = tuple(f"stage {i:02d} of maturation" if i % 7 else f"blast{i:02d}" for i in range(30))


def paint(path: Path, kind: int, seed: int) -> Path:
    """Write one cell among pale ones; its size and tone tell the kind, no two images are alike."""
    rng = np.random.default_rng([kind, seed])
    pixels = np.empty((48, 48, 3), np.float32)
    pixels[:] = (225, 215, 222)
    for _ in range(10):
        x, y, radius = (int(v) for v in rng.integers((0, 0, 4), (48, 48, 8)))
        cv2.circle(pixels, (x, y), radius, (214 - 6 * radius, 168 - 6 * radius, 178), -1)
    place = tuple(int(v) for v in rng.integers(12, 36, 2))
    colour = (110 + 7 * (kind % 5), 60 + 5 * (kind % 9), 145 + 3 * kind)
    axes = (6 + kind % 10, 6 + (3 * kind) % 10)
    cv2.ellipse(pixels, place, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    pixels += rng.normal(0, 5, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


def paint_folders(
    root: Path, names: Sequence[str], each: int = 10, *, file: str = "{name}_{i:03d}.png"
) -> Path:
    """One subfolder a class; ``file`` makes a name of ``name``, the class, and ``i``."""
    for (kind, name), i in itertools.product(enumerate(names), range(each)):
        paint(root / name / file.format(name=name, i=i), kind, i)
    return root


def paint_cnmc(root: Path, people: int = 8, cells: int = 3) -> Path:
    """C-NMC: three folds of two folders, healthy people ``H1`` .. and patients ``1`` .. by name."""
    for (kind, name), person, cell in itertools.product(
        enumerate(("hem", "all")), range(1, people + 1), range(1, cells + 1)
    ):
        uid = f"H{person}" if name == "hem" else str(person)
        file = f"fold_{person % 3}/{name}/UID_{uid}_1_{cell}_{name}.bmp"
        paint(root / file, kind, 100 * person + cell)
    return root


def paint_idb(root: Path, each: int = 10, *, suffix: str = ".jpg") -> Path:
    """ALL-IDB: one folder of images whose last digit is the class, and one of what is no image."""
    for kind, i in itertools.product((0, 1), range(1, each + 1)):
        name = f"Im{i + each * (1 - kind):03d}_{kind}"
        paint(root / "im" / f"{name}{suffix}", 3 * kind, i)
        notes = root / "xyc" / f"{name}.xyc"
        notes.parent.mkdir(exist_ok=True)
        notes.write_text("10 10\n")
    return root


def paint_raabin(root: Path, parts: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Raabin: three parts, five classes (two in TestB), several cells of one photograph."""
    parts = parts or {"Train": FIVE, "TestA": FIVE, "TestB": ("Lymphocyte", "Neutrophil")}
    for place, (part, names) in enumerate(parts.items()):
        for name, photo, cell in itertools.product(names, range(5), range(2)):
            file = f"{part}/{name}/201905{10 + place}_{photo:06d}_{cell}.jpg"
            paint(root / file, FIVE.index(name), 1000 * place + 10 * photo + cell)
    return root
