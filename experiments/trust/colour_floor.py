"""What a colour histogram without any shape scores on the paper's split, by the machine's settings.

LEUKEMIA_DATA=... python experiments/trust/colour_floor.py   # writes colour_floor.csv beside it
"""

import csv
import os
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from leukemia.classes import Classes
from leukemia.data.files.folders import list_images
from leukemia.data.files.images import in_threads, read_image
from leukemia.data.image.preprocess import colour_histogram

root = Path(os.environ["LEUKEMIA_DATA"])
images = list_images(root, Classes())
found = in_threads(lambda image: colour_histogram(read_image(root / image.path)), images)
features = np.stack(list(found))
labels = np.array([image.label for image in images])
numbers = np.array([int(Path(image.path).stem[-3:]) for image in images])
known, test = numbers <= 400, (numbers > 400) & (numbers <= 500)

rows = []
for scaled in (True, False):
    for c in (1, 10, 100, 1000):
        steps = [StandardScaler()] * scaled + [SVC(C=c)]
        blocks = []
        for start in (1, 101, 201, 301):
            block = (numbers >= start) & (numbers < start + 100)
            machine = make_pipeline(*steps).fit(features[known & ~block], labels[known & ~block])
            blocks.append(machine.score(features[block], labels[block]))
        called = make_pipeline(*steps).fit(features[known], labels[known]).predict(features[test])
        truth = labels[test]
        rows.append(
            {
                "scaled": scaled,
                "C": c,
                **{f"block_{i}": round(value, 4) for i, value in enumerate(blocks, 1)},
                "blocks_mean": round(float(np.mean(blocks)), 4),
                "test_accuracy": round(float((called == truth).mean()), 4),
                "test_sensitivity": round(float((called > 0)[truth > 0].mean()), 4),
                "test_specificity": round(float((called == 0)[truth == 0].mean()), 4),
            }
        )
        print(rows[-1])
with (Path(__file__).parent / "colour_floor.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
