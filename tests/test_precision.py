"""The default precision against float32, on real images."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from leukemia.model.hardware import resolve_precision
from tests.commands import run


@pytest.mark.slow
@pytest.mark.skipif(
    resolve_precision("auto", "cpu") == "32-true", reason="float32 is the default here"
)
def test_the_default_precision_trains_as_float32_does(aria: Path, cache: Path, tmp_path: Path):
    for folder in sorted(aria.iterdir()):
        if folder.is_dir():
            (tmp_path / "images" / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[::2]:
                shutil.copy(file, tmp_path / "images" / folder.name)
    settings = ["data=folder", f"data.root={tmp_path / 'images'}", "split=stratified"]
    settings += ["split.fractions=[0.5,0.4,0.1]", "model.backbone.weights=null", "crop.size=64"]
    settings += ["trainer.max_epochs=8", "trainer.progress=false", "open_test=false"]
    right = {}
    for precision in ("auto", "32-true"):
        out = tmp_path / precision
        overrides = [*settings, f"trainer.precision={precision}", f"hydra.run.dir={out}"]
        done = run("train", *overrides, cache=cache, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        with (out / "predictions" / "val.csv").open(newline="") as file:
            right[precision] = [row["label"] == row["prediction"] for row in csv.DictReader(file)]
    accuracy = {precision: np.mean(rows) for precision, rows in right.items()}
    assert accuracy["32-true"] > 0.8
    assert accuracy["auto"] == pytest.approx(accuracy["32-true"], abs=0.01)
