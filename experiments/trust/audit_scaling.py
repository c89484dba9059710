"""How time and memory of the search for duplicates grow with the number of images.

    python experiments/trust/audit_scaling.py FOLDER

takes two fields, which do not overlap, of each of 5,000 images in FOLDER, and plants a changed
copy (turned, shifted, stained and encoded anew) of one in a hundred. Recorded with the folders
Benign and Early of `paint_smears(..., per_class=2500)`. Each number of images is measured in a
process of its own, in CPU seconds on one core: the machine had other work. Writes
audit_scaling.csv and audit_scaling.png beside itself.
"""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from leukemia.audit.duplicates import find_duplicates, thumbnail
from leukemia.data.augment import scale_stains
from leukemia.data.files.images import read_image
from leukemia.runs.environment import peak_memory

SIZES = (1250, 2500, 5000, 10000)
COLUMNS = ("images", "planted", "found", "false", "reading_s", "search_s", "peak_mb", "before_mb")
HEIGHT, WIDTH = 208, 104  # of a field in half of 224 x 224 pixels; both sides become 224


def field(paths: list[Path], number: int, down: int = 0, right: int = 0) -> NDArray[np.uint8]:
    """Return one of the two fields of a painted smear, (224, 224, 3)."""
    image = read_image(paths[number // 2])
    top, left = 8 + down, 4 + 112 * (number % 2) + right
    cut = np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])
    return np.asarray(cv2.resize(cut, (224, 224)), np.uint8)


def changed(paths: list[Path], number: int) -> NDArray[np.uint8]:
    """Return a field that was turned, shifted, stained and encoded anew."""
    rng = np.random.default_rng(number)
    # 8 of 224 pixels down or up, and as much to a side.
    down, right = 8 * rng.choice((-1, 1)), 4 * rng.choice((-1, 1))
    image = scale_stains(field(paths, number, down, right), rng.uniform(0.75, 1.25, 3))
    image = np.rot90(image[:, ::-1] if rng.random() < 0.5 else image, rng.integers(4))
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], 1)


def measure(paths: list[Path], n: int) -> list[float]:
    """Search n images; return a row of `COLUMNS`."""
    before, planted = peak_memory(), n // 100
    start = time.process_time()
    # Spread over all groups of stain.
    numbers = np.linspace(0, 2 * len(paths) - 1, n - planted).astype(int).tolist()
    images = [thumbnail(field(paths, number)) for number in numbers]
    images += [thumbnail(changed(paths, number)) for number in numbers[:planted]]
    read = time.process_time()
    pairs = find_duplicates(np.stack(images), [str(row) for row in range(n)])
    end = time.process_time()
    found = sum(pair.second - pair.first == n - planted for pair in pairs)
    seconds = (round(read - start, 2), round(end - read, 2))
    return [n, planted, found, len(pairs) - found, *seconds, peak_memory(), before]


def main() -> None:
    """Measure one number of images, where one is given, or all."""
    folder = Path(sys.argv[1])
    paths = sorted(folder.rglob("*.jpg"))[:5000]
    cv2.setNumThreads(1)
    if len(sys.argv) > 2:
        print(*measure(paths, int(sys.argv[2])), sep=",", flush=True)
        return
    one_core = {**os.environ, "OMP_NUM_THREADS": "1"}
    lines = []
    for n in SIZES:
        command = [sys.executable, __file__, str(folder), str(n)]
        done = subprocess.run(command, env=one_core, check=True, capture_output=True, text=True)
        lines.append(done.stdout.strip().split(","))
        print(*lines[-1])
    beside = Path(__file__).with_suffix(".csv")
    with beside.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *lines])
    draw([dict(zip(COLUMNS, map(float, line), strict=True)) for line in lines])


def draw(rows: list[dict[str, float]]) -> None:
    """Draw time, beside n log n through the first point, and memory."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    n = np.array([row["images"] for row in rows])
    reading, search = (np.array([row[name] for row in rows]) for name in ("reading_s", "search_s"))
    total = reading + search
    bound = total[0] * n * np.log(n) / (n[0] * np.log(n[0]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.loglog(n, total, "o-", label="both")
    left.loglog(n, reading, "s-", label="reading, thumbnails")
    left.loglog(n, search, "^-", label="search")
    left.loglog(n, bound, "k--", label="n log n")
    left.set(xlabel="images", ylabel="CPU seconds, one core", xticks=n, xticklabels=SIZES)
    left.minorticks_off()
    left.legend()
    right.plot(n, [row["peak_mb"] for row in rows], "o-", label="peak")
    right.plot(n, [row["before_mb"] for row in rows], "s-", label="of it, libraries")
    right.axhline(1536, color="k", linestyle="--", label="1.5 GB")
    right.set(xlabel="images", ylabel="resident memory, MB", ylim=(0, 1700))
    right.legend()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
