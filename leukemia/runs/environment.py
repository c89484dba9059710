"""Where a run was made: versions, commit, hardware, and how long its sessions took."""

import json
import math
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.runs.directory import RunDir

PACKAGES = (
    *("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf"),
    *("albumentations", "opencv-python-headless", "pillow", "numpy", "torchstain"),
    *("scikit-learn", "wandb"),
)


class Sessions:
    """The times that a run was worked on: the first one, and one for each ``resume=``.

    They stand in the run's ``sessions.json`` while it is trained, so that a session that was
    killed counts too, up to the last epoch or second that it noted.

    Args:
        run: its directory, held by this process.
        device: where and in which precision this session computes, in words.
        began: when it began, by `time.monotonic`.

    Raises:
        UserError: a ``sessions.json`` that is none.
    """

    def __init__(self, run: RunDir, device: str, began: float) -> None:
        """Read the earlier sessions and begin one."""
        self.run, self.began, self.noted = run, began, 0.0
        self.path = run.path / "sessions.json"
        self.place = _identity(run.path)
        self.earlier = _read(self.path)
        self.own: dict[str, Any] = {"device": device, "seconds": 0.0, "peak_memory_mb": None}
        self.note()

    def note(self, *, every: float = 0.0) -> None:
        """Write down how long this session has taken.

        Args:
            every: seconds at least between two writes.

        Raises:
            UserError: the run directory is no longer there.
        """
        self.check_there()
        now = time.monotonic()
        if now - self.noted < every:
            return
        self.noted = now
        self.own |= {"seconds": round(now - self.began, 1), "peak_memory_mb": peak_memory()}
        write_text(self.path, json.dumps([*self.earlier, self.own], indent=1) + "\n")

    def check_there(self) -> None:
        """Refuse to go on without the run directory, which writing would make anew, empty.

        Raises:
            UserError: it was deleted, moved or replaced.
        """
        if _identity(self.run.path) != self.place or not self.run.config.is_file():
            raise UserError(
                f"The run directory '{self.run.path}' was deleted or moved while it was trained: "
                f"go on with resume=<where it is now>, or start anew."
            )

    def all(self) -> list[dict[str, Any]]:
        """All sessions, this one last, up to now."""
        self.note()
        return [*self.earlier, self.own]

    def close(self) -> None:
        """Remove the notes of a finished run, which stand in its environment.json."""
        self.path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sessions: list[dict[str, Any]] = [
            {
                "device": str(one["device"]),
                "seconds": float(one["seconds"]),
                "peak_memory_mb": one["peak_memory_mb"] and int(one["peak_memory_mb"]),
            }
            for one in found
        ]
        if not all(0 <= one["seconds"] < math.inf for one in sessions):
            raise ValueError("seconds that are no finite number from 0 on")
        return sessions
    # OverflowError: an infinite peak_memory_mb.
    except (OSError, OverflowError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"'{path}' does not hold the times of the run's sessions: restore it, or remove it, "
            f"and wall_seconds counts from now on."
        ) from error


def environment(seed: int, *, device: str, seconds: float) -> dict[str, Any]:
    """Return what a reader needs to repeat the run."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device,
        "seed": seed,
        "wall_seconds": round(seconds, 1),
        "peak_memory_mb": peak_memory(),
    }


def together(sessions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what environment.json says of all sessions of a run, the last one last."""
    peaks = [one["peak_memory_mb"] for one in sessions if one["peak_memory_mb"] is not None]
    return {
        "wall_seconds": round(sum(one["seconds"] for one in sessions), 1),
        "peak_memory_mb": max(peaks, default=None),
        "sessions": sessions,
    }


def peak_memory() -> int | None:
    """Return the most memory that this process held at once, in MiB; None where nobody counts."""
    status = Path("/proc/self/status")
    if status.is_file():  # there ru_maxrss begins with what the process held that started this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024**2 if sys.platform == "darwin" else 1024)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    def ask(*words: str) -> str:
        here = Path(__file__).parent
        found = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
        )
        return found.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
