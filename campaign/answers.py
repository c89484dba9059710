"""What a run or a study came to, in a form that can be compared to the last bit."""

import csv
import hashlib
import re
from pathlib import Path

import numpy as np
import torch

Answer = dict[str, str]
"""A digest by the name of a file, an array or a tensor."""

_FILES = (
    "history.csv",
    "metrics.json",
    "split.csv",
    "calibration*.json",
    "thumbnails.npy",
    "predictions/*.csv",
)
_CHANCE = re.compile(r"[0-9a-f]{32}")  # keys of caches, which depend on where the cache lies


def of_run(run: Path) -> Answer:
    """Digest the files of a run that are the same however often it was cut off.

    These are its table and figures byte by byte, and every array of ood.npz and tensor of
    best.ckpt; not what holds times and paths (environment.json, config.yaml, DONE, pages).
    """
    found = {
        str(path.relative_to(run)): _digest(path.read_bytes())
        for pattern in _FILES
        for path in sorted(run.glob(pattern))
    }
    known = run / "ood.npz"
    if known.is_file():
        with np.load(known, allow_pickle=False) as archive:
            for name in archive.files:
                found[f"ood.npz: {name}"] = _digest(archive[name].tobytes())
    weights = run / "checkpoints" / "best.ckpt"
    if weights.is_file():
        state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
        for name, value in state.items():
            found[f"best.ckpt: {name}"] = _digest(value.contiguous().numpy().tobytes())
    for name in ("report.html", "MODEL_CARD.md", "DONE"):
        found[name] = "there" if (run / name).is_file() else "missing"
    return found


def of_table(study: Path) -> Answer:
    """Digest a study's table but for the seconds, and what is told of its winner."""
    found: Answer = {}
    with (study / "trials.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            kept = {key: value for key, value in row.items() if key != "seconds"}
            found[f"trials.csv: {row['trial']}"] = _digest(repr(kept).encode())
    winner = study / "winner" / "winner.json"
    found["winner.json"] = _digest(winner.read_bytes()) if winner.is_file() else "missing"
    return found


def of_study(study: Path) -> Answer:
    """Digest a study: its table, its trials, and the winner's figures."""
    found = of_table(study)
    for run in sorted(study.glob("[0-9]*")) + sorted(study.glob("winner/[0-9]*")):
        found |= {f"{run.relative_to(study)}/{name}": value for name, value in of_run(run).items()}
    return found


def differences(expected: Answer, found: Answer) -> str | None:
    """Name what differs; ``None`` where all is the same to the last bit."""
    names = dict.fromkeys([*expected, *found])
    differ = [name for name in names if expected.get(name) != found.get(name)]
    if not differ:
        return None
    more = f" and {len(differ) - 4} more" if len(differ) > 4 else ""
    return f"differ: {', '.join(differ[:4])}{more}"


def files_in(folder: Path) -> set[str]:
    """Return the files and folders below a folder, without what is named by chance or by place."""
    return {
        anywhere(str(path.relative_to(folder)))
        for path in folder.rglob("*")
        if not path.name.endswith(".lock")
    }


def anywhere(name: str) -> str:
    """Return a name with ``*`` for what is there by chance or by place."""
    return _CHANCE.sub("*", name)


def contents(folder: Path) -> Answer:
    """Digest every file below a folder; a link is what it points to."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}"
        if path.is_symlink()
        else _digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and not path.name.endswith(".lock")
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
