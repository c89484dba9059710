"""`python -m benchmarks`: prints the table and writes it as JSON."""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks import (
    breakdown,
    cache_build,
    command,
    data_path,
    embedding,
    head,
    inference,
    training,
)
from benchmarks.scene import Scene, make_scene
from benchmarks.timing import Row
from leukemia.disk import write_text
from leukemia.report.html import print_rows
from leukemia.runs.environment import environment

FAMILIES = {
    "training": training.measure,
    "inference": inference.measure,
    "data": data_path.measure,
    "cache": cache_build.measure,
    "embedding": embedding.measure,
    "head": head.measure,
    "startup": command.startup,
    "memory": command.memory,
}


def main() -> None:
    """Run the families that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("families", nargs="*", help=", ".join([*FAMILIES, "parts"]) + "; all")
    parser.add_argument("--quick", action="store_true", help="short work, one round: a trial")
    parser.add_argument("--output", type=Path, default=Path("runs/bench.json"))
    args = parser.parse_args()
    chosen = args.families or [*FAMILIES, "parts"]
    if unknown := set(chosen) - {*FAMILIES, "parts"}:
        parser.error(f"no such family: {', '.join(sorted(unknown))}")
    warnings.filterwarnings("ignore")
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "140")  # in a file no line needs folding
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scene = make_scene(Path(folder), quick=args.quick)
        if not args.quick:
            scene = training.sized(scene)
        rows, shares = _run(scene, chosen)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = environment(0, device=device, seconds=time.monotonic() - began)
    _print(rows, shares)
    gpu = f"{torch.cuda.get_device_name()}" if device == "cuda" else "not measured: none is here"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{machine['processor']}, {cores} cores; GPU: {gpu}. {machine['wall_seconds']:.0f} s.")
    page = {
        "environment": machine,
        "gpu": gpu,
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        "parts": shares,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.output, json.dumps(page, indent=2) + "\n")


def _run(scene: Scene, chosen: list[str]) -> tuple[list[Row], dict[str, float]]:
    rows: list[Row] = []
    for name, measure in FAMILIES.items():
        if name in chosen:
            print(f"{name} ...", flush=True)
            rows += measure(scene)
    return rows, breakdown.measure(scene) if "parts" in chosen else {}


def _print(rows: list[Row], shares: dict[str, float]) -> None:
    header = ["", "what", "ours", "other", "unit", "ratio", "spread", "target"]
    print_rows(header, [_cells(row) for row in rows])
    if shares:
        print_rows(
            ["part of a training", "share of its time"],
            [[part, f"{share:.1%}"] for part, share in shares.items()],
        )


def _cells(row: Row) -> list[str]:
    sign = "<=" if row.at_most else ">="
    said = {True: "met", False: "missed", None: ""}[row.met]
    target = "" if row.target is None else f"{sign} {row.target:g}: {said}"
    alone = row.other is None
    return [
        *(row.family, row.what, f"{row.ours:.4g}", "" if alone else f"{row.other:.4g}", row.unit),
        "" if alone else f"{row.ratio:.2f}",
        f"{row.spread[0]:.3g} to {row.spread[1]:.3g}",
        target,
    ]


if __name__ == "__main__":
    main()
