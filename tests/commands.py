"""Runs the commands as a user does: in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

# A training of seconds over both stages, on painted smears.
SMALL = [
    "data=synthetic",
    "data.per_class=20",
    "crop.size=64",
    "model.backbone.weights=null",
    "head=linear",
    "stages=[head,finetune]",
    "stage.head.epochs=8",
    "stage.head.batch_size=8",
    "stage.finetune.epochs=4",
    "stage.finetune.batch_size=8",
    "trainer.progress=false",
    "trainer.threads=1",
]


def command(verb: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", f"leukemia.{verb}", *overrides]


def environment(cache: Path, **changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("LEUKEMIA_DATA", "WANDB_MODE")}
    return {**kept, "LEUKEMIA_CACHE": str(cache), "COLUMNS": "100", **changes}


def run(
    verb: str, *overrides: str, cache: Path, cwd: Path, **changes: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(verb, *overrides),
        cwd=cwd,
        env=environment(cache, **changes),
        capture_output=True,
        text=True,
        timeout=300,
    )
