"""Where a run was made: versions, commit, hardware."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf"),
    *("albumentations", "opencv-python-headless", "pillow", "numpy", "torchstain"),
    *("scikit-learn", "wandb"),
)


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


def peak_memory() -> int:
    """Return the most memory that this process held at once, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # there ru_maxrss begins with what the process held that started this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024
    try:
        import resource
    except ModuleNotFoundError:  # as on Windows
        return 0
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
