"""The campaign of faults, with few cases of each part: it runs, and finds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FEW = ["--kills=4", "--writes=4", "--study-kills=4", "--images=60", "--configs=60", "--files=40"]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["kills", "studies", "images", "configs", "files"])
def test_a_short_campaign_finds_nothing(part: str, tmp_path: Path):
    # Among the kills is a training in a process that was not forked, with the same answer.
    done = subprocess.run(
        [sys.executable, "-m", "campaign", part, "--seed=1", *FEW, f"--output={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 1" in done.stdout
    assert (tmp_path / "summary.md").is_file()
