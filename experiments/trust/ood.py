"""What share of strange images a finished run flags as out of distribution, and of its own test.

python experiments/trust/ood.py RUN [RUN ...]     # writes ood.csv beside this file
"""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import leukemia
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.files.images import read_image
from leukemia.data.image.perturb import STAIN
from leukemia.data.synthetic import paint_smears
from leukemia.runs.scoring import judge_part, own_data, strangeness

Image = NDArray[np.uint8]
SIDE, MANY = 224, 50


def noise(random: np.random.Generator) -> Image:
    """Every pixel drawn for itself."""
    return random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def drawing(random: np.random.Generator) -> Image:
    """Colour gradients, a word, a disc: no smear."""
    ramps = [np.linspace(0, 255 * random.random(), SIDE) for _ in range(3)]
    turned = [np.rot90(np.tile(ramp, (SIDE, 1)), random.integers(4)) for ramp in ramps]
    image = np.ascontiguousarray(np.stack(turned, axis=-1), np.uint8)
    ink, place = random.integers(0, 256, (2, 3)).tolist(), random.integers(0, SIDE, 2).tolist()
    cv2.putText(image, "NO SMEAR", (5, 120), 0, 1.2, ink[0], 3)
    cv2.circle(image, place, 40, ink[1], -1)
    return image


def main() -> None:
    """Write one row for each run and kind of image."""
    lines = [["run", "images", "n", "refused", "flagged"]]
    painted = paint_smears(Path("runs") / "painted", per_class=15)
    for path in sys.argv[1:]:
        judge = leukemia.load(path, tta=False)
        data = own_data(judge.finished)
        assert isinstance(data, SmearDataModule)
        own = strangeness(judge.finished, data, judge_part(judge.finished, data, "test").embeddings)
        assert own is not None
        lines.append([Path(path).name, "test", len(own), 0, f"{own.mean():.3f}"])
        rows = data.parts["test"][:: len(data.parts["test"]) // MANY]
        smears = [read_image(data.root / data.manifest.files[row]) for row in rows]
        random = np.random.default_rng(0)
        kinds = {
            "noise": [noise(random) for _ in range(MANY)],
            "drawings": [drawing(random) for _ in range(MANY)],
            "painted smears": [read_image(p) for p in sorted(painted.rglob("*.jpg"))],
            "black": [np.zeros((SIDE, SIDE, 3), np.uint8)],
        }
        donor = smears[0]
        for name in ("darker", "brighter", "white balance", "hue", "grey", "stain", "blur"):
            for strength in (3, 5):
                change = STAIN[name]
                kinds[f"{name} {strength}"] = [
                    change(image, strength, (0, i), donor) for i, image in enumerate(smears)
                ]
        for kind, images in kinds.items():
            names = [str(number) for number in range(len(images))]
            scores, bad = judge.score(names, images)
            flagged = scores.strange.flags.sum() if scores.strange else 0
            share = (flagged + len(bad)) / len(images)
            lines.append([Path(path).name, kind, len(images), len(bad), f"{share:.3f}"])
    with Path(__file__).with_name("ood.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


if __name__ == "__main__":
    main()
