"""`python -m campaign`: kills, damages and fuzzes; prints and writes what came of it."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read once, by torch: what is forked must have no threads
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from campaign import configs, kills, pictures, run_files, scene, study_kills
from campaign.record import Part, page
from campaign.warm import warm
from leukemia.disk import write_text
from leukemia.runs.environment import environment

PARTS = ("kills", "studies", "images", "configs", "files")


def main() -> None:
    """Run the parts that are named, or all; leave with status 1 where a case failed."""
    args = _arguments()
    print(f"seed {args.seed}, {args.jobs} commands at a time", flush=True)
    home, began = Path(tempfile.mkdtemp(prefix="campaign-")).resolve(), time.monotonic()
    warm()
    found: list[Part] = []
    seconds: dict[str, float] = {}
    for name in args.parts:
        start = time.monotonic()
        part = _attack(name, home / name, args)
        if part is None:
            print(f"{name}: left out, these tests fuzz nothing.")
            continue
        found.append(part)
        seconds[part.name] = round(time.monotonic() - start)
        part.write(args.output)
        print(f"{name}: {part.count} cases, {len(part.failed)} failed, {seconds[part.name]} s")
        for case in part.failed[:20]:
            print(f"  {case.case}: {case.done}: {case.happened}")
        sys.stdout.flush()
    where = environment(args.seed, device="cpu", seconds=time.monotonic() - began)
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    summary = {
        "settings": settings,
        "environment": where,
        "parts": {part.name: {**part.to_dict(), "seconds": seconds[part.name]} for part in found},
    }
    write_text(args.output / "summary.json", json.dumps(summary, indent=2) + "\n")
    text = page(found, seconds, f"seed {args.seed}; {where['processor']}, {args.jobs} at a time")
    write_text(args.output / "summary.md", text)
    print(text, end="")
    failed = any(part.failed for part in found)
    if failed or args.keep:
        print(f"The runs of the cases that failed lie in {home}")
    else:
        shutil.rmtree(home)
    sys.exit(1 if failed else 0)


def _attack(name: str, home: Path, args: argparse.Namespace) -> Part | None:
    home.mkdir()
    if name == "kills":
        return kills.attack(
            home, kills=args.kills, writes=args.writes, seed=args.seed, jobs=args.jobs
        )
    if name == "studies":
        return study_kills.attack(home, kills=args.study_kills, seed=args.seed, jobs=args.jobs)
    if name == "configs":
        if not configs.is_known():
            return None
        return configs.attack(cases=args.configs, seed=args.seed, jobs=args.jobs)
    sound = home / "sound"
    scene.made(sound)
    if name == "images":
        return pictures.attack(home, sound, cases=args.images, seed=args.seed, jobs=args.jobs)
    return run_files.attack(home, sound, cases=args.files, seed=args.seed, jobs=args.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all where none is named")
    for name, default, meaning in (
        ("seed", 0, "of all that is drawn"),
        ("kills", 100, "kills of trainings, at times drawn uniformly over their lives"),
        ("writes", 50, "kills of trainings, each just before a change of the disk"),
        ("study-kills", 30, "kills of studies"),
        ("images", 1000, "damaged images"),
        ("configs", 1000, "fuzzed configurations"),
        ("files", None, "damaged files of runs; all where not given"),
        ("jobs", 2, "commands at a time"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} ({default})"
        )
    parser.add_argument(
        "--output", type=Path, default=Path("runs/campaign"), help="folder to write"
    )
    parser.add_argument("--keep", action="store_true", help="keep what the cases left")
    args = parser.parse_args()
    args.parts = args.parts or [*PARTS]
    if unknown := set(args.parts) - {*PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return args


if __name__ == "__main__":
    main()
