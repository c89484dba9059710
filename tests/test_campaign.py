"""The campaign of faults: what it judges by, and a few cases of each part."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from campaign import pictures
from campaign.reference import complaint

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


@pytest.mark.parametrize("suffix", list(pictures.ENCODED))
def test_no_decoder_complains_of_a_whole_image(suffix: str, smear: Path, tmp_path: Path):
    form, options = pictures.ENCODED[suffix]
    path = tmp_path / f"whole.{suffix}"
    with Image.open(smear) as image:
        image.save(path, form, **options)
    assert complaint(path) is None


@pytest.mark.parametrize(
    ("form", "damage"),
    [
        ("JPEG", pictures.closed),
        ("JPEG", pictures.cut),
        ("PNG", pictures.disagreeing),
        ("PNG", pictures.flipped),
        ("PNG", pictures.closed),
        ("BMP", pictures.cut),
        ("WEBP", pictures.cut),
        ("TIFF", pictures.cut),
    ],
)
def test_what_is_damaged_is_complained_of(form: str, damage: object, smear: Path, tmp_path: Path):
    buffer, path = io.BytesIO(), tmp_path / "damaged"
    with Image.open(smear) as image:
        image.save(buffer, form)
    for seed in range(5):
        path.write_bytes(damage(buffer.getvalue(), np.random.default_rng(seed)))
        assert complaint(path), seed
