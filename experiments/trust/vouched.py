"""What a run calls certain, as `predict` does, and how much of that is wrong.

python experiments/trust/vouched.py RUN TABLE [RUN TABLE ...]

TABLE is a CSV of predictions, or `test` for those of the run's own test part.
"""

import json
import sys
from pathlib import Path

import numpy as np

from leukemia.classes import Classes
from leukemia.measure.calibration import apply_temperature
from leukemia.measure.operating import uncertain
from leukemia.measure.predictions import read_predictions

classes = Classes()
totals = np.zeros(6, int)
for run, table in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    path = Path(run) / "predictions" / "test.csv" if table == "test" else Path(table)
    known = json.loads((Path(run) / "calibration.json").read_text())
    part = read_predictions(path, classes)
    shown = apply_temperature(part.probabilities, known["temperature"])
    unsure = uncertain(shown, classes, known["threshold"], known["confidence"])
    wrong = shown.argmax(1) != part.labels
    benign = classes.benign_labels[0]
    missed = (part.labels != benign) & (shown.argmax(1) == benign)
    alarm = wrong & (part.labels == benign)
    counts = [wrong, unsure, missed, wrong & ~unsure, missed & ~unsure, alarm & ~unsure]
    found = np.array([int(each.sum()) for each in counts])
    totals += found
    print(run, f"n {len(wrong)}", *found)
names = (
    "wrong",
    "uncertain",
    "missed",
    "certain and wrong",
    "certain and missed",
    "certain alarms",
)
print(dict(zip(names, totals.tolist(), strict=True)))
