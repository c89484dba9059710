"""What the shortcuts score when they learn from the very images that a run learnt from.

An audit's floors learn from training and validation together; a network's weights never see
validation. LEUKEMIA_DATA=... python experiments/trust/floors_of_runs.py OUT.csv NAME RUN [RUN ...]
adds to OUT.csv one row a shortcut, scored on the test parts of all RUNs together.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from leukemia.audit.health import CUES, read_cues
from leukemia.classes import Classes
from leukemia.data.augment import paper_views
from leukemia.data.files.folders import list_images
from leukemia.data.files.images import in_threads, read_image
from leukemia.data.image.mask import find_regions
from leukemia.data.split.leaky import VIEWS

out, name, runs = Path(sys.argv[1]), sys.argv[2], [Path(run) for run in sys.argv[3:]]
root = Path(os.environ["LEUKEMIA_DATA"])


def cues_of(file: str) -> dict[str, np.ndarray]:
    """Return the shortcuts of one image, or of a view of it as split=leaky names them."""
    path, _, view = file.partition("#")
    rgb = read_image(root / path)
    if view:
        rgb = paper_views(rgb, 0, places[path])[VIEWS.index(f"#{view}")]
    return read_cues((root / path).read_bytes(), rgb, find_regions(rgb))


def listed(run: Path) -> list[tuple[str, str]]:
    """Return the files of a run's split and their parts."""
    with (run / "split.csv").open(newline="") as file:
        return [(row["file"], row["part"]) for row in csv.DictReader(file)]


images = list_images(root, Classes())
places = {image.path: row for row, image in enumerate(images)}
names = sorted({file for run in runs for file, _ in listed(run)})
labels = np.array([images[places[name.partition("#")[0]]].label for name in names])
row_of = {name: row for row, name in enumerate(names)}
found = list(in_threads(cues_of, names))
rows = []
for cue in CUES:
    values = np.stack([one[cue] for one in found])
    truth, called = [], []
    for run in runs:
        train, test = (
            np.array([row_of[file] for file, part in listed(run) if part == wanted])
            for wanted in ("train", "test")
        )
        machine = make_pipeline(StandardScaler(), SVC(C=10)).fit(values[train], labels[train])
        called.append(machine.predict(values[test]))
        truth.append(labels[test])
    t, c = np.concatenate(truth), np.concatenate(called)
    rows.append(
        {
            "split": name,
            "shortcut": cue,
            "runs": len(runs),
            "n": len(t),
            "accuracy": round(float((t == c).mean()), 4),
            "cancer_sensitivity": round(float((c > 0)[t > 0].mean()), 4),
            "cancer_specificity": round(float((c == 0)[t == 0].mean()), 4),
            "accuracy_by_run": " ".join(
                f"{np.mean(a == b):.3f}" for a, b in zip(truth, called, strict=True)
            ),
        }
    )
    print(rows[-1])
new = not out.exists()
with out.open("a", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    if new:
        writer.writeheader()
    writer.writerows(rows)
