"""The targets of `stain=`, from files 001 to 300 of each class, which the paper trains on.

    LEUKEMIA_DATA=path/to/Original python experiments/trust/stain_target.py

prints medians over these 1,200 images, as conf/stain/*.yaml has them.
"""

import os
import re
from pathlib import Path

import numpy as np

from leukemia.classes import Classes
from leukemia.data.files.folders import list_images
from leukemia.data.files.images import read_image
from leukemia.data.image.stain import Background, find_glass, find_stains, find_tissue, to_lab

LAST, GLASS = 300, (246.0, 254.0, 249.0)  # the latter is what it prints first


def main() -> None:
    """Print the targets."""
    root = Path(os.environ["LEUKEMIA_DATA"])
    found: dict[str, list[np.ndarray]] = {}
    for image in list_images(root, Classes()):
        if int(re.findall(r"\d+", image.path)[-1]) > LAST:
            continue
        rgb = read_image(root / image.path)
        glass = find_glass(rgb)
        lab, tissue = to_lab(Background(GLASS)(rgb)), find_tissue(rgb, glass)
        found.setdefault("glass", []).append(glass)
        for name, pixels in (("tissue", lab[tissue]), ("all", lab.reshape(-1, 3))):
            found.setdefault(f"{name}.mean", []).append(pixels.mean(axis=0, dtype=np.float64))
            found.setdefault(f"{name}.std", []).append(pixels.std(axis=0, dtype=np.float64))
        if (stains := find_stains(rgb)) is not None:
            found.setdefault("stains", []).append(stains[1])
            found.setdefault("concentrations", []).append(stains[2])
    for name, values in found.items():
        print(f"{name} (n = {len(values)}): {np.median(values, axis=0).round(2).tolist()}")


if __name__ == "__main__":
    main()
