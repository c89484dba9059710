"""Small studies on embeddings, as several files of tests start them."""

import subprocess
from pathlib import Path

from tests.commands import rows, run_here

EPOCHS = 10
SMALL = [
    "data=embeddings",
    "split=stratified",
    "head=linear",
    f"stage.head.epochs={EPOCHS}",
    "stage.head.batch_size=16",
    "loss.cancer_weight=1",
    "report.map=null",
    "runtime.save_every=0",
]
GRID = ["study=seeds", "seed=0,1", "loss.lambda_nll=0.5,1", *SMALL]


def study(home: Path, *overrides: str, **changes: str) -> subprocess.CompletedProcess[str]:
    file = f"data.file={home / 'toy.npz'}"
    return run_here("train", *overrides, file, cache=home, cwd=home, **changes)


def trials(folder: Path) -> list[dict[str, str]]:
    """The table of a study, without what no second run repeats."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder / "trials.csv")]
