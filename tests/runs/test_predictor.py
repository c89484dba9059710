"""`leukemia.load` and its predictor, from Python."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

import leukemia
from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.calibration import fit_calibration
from leukemia.measure.predictions import Predictions
from tests.commands import CLASSES, QUIET, probabilities, rows, run_here, seal


def test_the_stored_calibration_is_applied(finished, smears, predictor, tmp_path):
    images = sorted(smears.rglob("*.jpg"))[::9]
    bare = run_with(finished, tmp_path / "bare", temperature=1.0, threshold=0.5, confidence=0.0)
    warm = run_with(finished, tmp_path / "warm", temperature=2.5, threshold=0.5, confidence=1.0)
    p = leukemia.load(bare).predict(images)
    q = leukemia.load(warm).predict(images)
    np.testing.assert_allclose(q.probabilities, softmax(np.log(p.probabilities) / 2.5, axis=1))
    assert q.predicted == p.predicted
    assert p.certain.all()
    assert not q.certain.any()
    stored = json.loads((finished / "calibration_single_view.json").read_text())["temperature"]
    np.testing.assert_allclose(
        predictor.predict(images).probabilities, softmax(np.log(p.probabilities) / stored, axis=1)
    )


def test_the_calibration_of_one_view_is_fitted_on_one_view(finished, smears, tmp_path):
    table = rows(finished / "predictions" / "val.csv")
    bare = run_with(finished, tmp_path / "bare", temperature=1.0, threshold=0.5, confidence=0.0)
    scores = leukemia.load(bare).predict([smears / row["file"] for row in table])
    labels = np.array([CLASSES.index(row["label"]) for row in table])
    fitted = fit_calibration(
        Predictions(tuple(scores.files), labels, scores.probabilities, Classes())
    )
    stored = json.loads((finished / "calibration_single_view.json").read_text())
    eight = json.loads((finished / "calibration.json").read_text())
    assert fitted.temperature == pytest.approx(stored["temperature"], rel=1e-3)
    assert fitted.threshold == pytest.approx(stored["threshold"], abs=1e-6)
    assert stored != eight


def run_with(finished: Path, folder: Path, **values: float) -> Path:
    """A copy of a run with another calibration."""
    shutil.copytree(finished, folder)
    path = folder / "calibration_single_view.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return seal(folder)


def as_trained(run: Path, *, tta: bool = True) -> "leukemia.runs.predictor.Predictor":
    """With the views of its training's end, and uncalibrated as those predictions are."""
    predictor = leukemia.load(run, tta=tta)
    predictor.calibration = replace(predictor.calibration, temperature=1.0)
    return predictor


def test_the_run_s_own_test_images_get_its_own_predictions(finished, smears):
    table = rows(finished / "predictions" / "test.csv")
    found = as_trained(finished).predict([smears / row["file"] for row in table])
    np.testing.assert_allclose(
        found.probabilities, [probabilities(row) for row in table], rtol=0, atol=1e-6
    )


def test_real_test_images_get_the_run_s_own_predictions(aria: Path, cache: Path, tmp_path: Path):
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        for file in sorted((aria / name).iterdir())[::20]:
            shutil.copy(file, tmp_path / "images" / name)
    settings = ["data=folder", f"data.root={tmp_path / 'images'}", "split=stratified"]
    settings += [
        "experiment=frozen",
        "model.backbone.weights=null",
        "trainer.max_epochs=1",
        "crop.size=96",
        QUIET,
    ]
    settings += ["model.backbone.resize=null", "model.backbone.layers=[layer1]"]
    folder = tmp_path / "run"
    done = run_here("train", *settings, f"hydra.run.dir={folder}", cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = rows(folder / "predictions" / "test.csv")
    found = as_trained(folder, tta=False).predict(
        [tmp_path / "images" / row["file"] for row in table]
    )
    np.testing.assert_allclose(
        found.probabilities, [probabilities(row) for row in table], rtol=0, atol=1e-6
    )


def test_noise_is_out_of_distribution_an_empty_field_is_refused_and_smears_are_neither(
    resnet, smears
):
    predictor = leukemia.load(resnet)
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (64, 64, 3), np.uint8)
    glass = np.clip(random.normal(245, 1, (64, 64, 3)), 0, 255).astype(np.uint8)
    assert predictor.predict(noise).strange.flags.tolist() == [True]
    with pytest.raises(UserError, match="shows no cell"):
        predictor.predict(glass)
    assert predictor.predict(sorted(smears.rglob("*.jpg"))).strange.flags.mean() < 0.15


def test_arrays_and_files_of_the_same_picture_are_judged_alike(predictor, smears):
    paths = sorted(smears.rglob("*.jpg"))[:3]
    arrays = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    expected = predictor.predict(paths).probabilities
    for images in (arrays, list(arrays), [str(paths[0]), arrays[1], paths[2]]):
        np.testing.assert_array_equal(predictor.predict(images).probabilities, expected)
    alone = predictor.predict(paths[:1]).probabilities
    np.testing.assert_array_equal(predictor.predict(arrays[0]).probabilities, alone)
    mirrored = predictor.predict(arrays[0][:, ::-1])
    assert (len(mirrored), mirrored.files) == (1, ("0",))


def test_no_image_gives_no_row(predictor):
    scores = predictor.predict([])
    assert scores.probabilities.shape == (0, 4)
    assert len(scores.certain) == len(scores.predicted) == len(scores) == 0


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((8, 8), np.uint8), r"\(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (None, "NoneType"),
        (np.zeros((8, 8, 3), np.uint8), "shows no cell"),
        ("nowhere.jpg", "nowhere.jpg"),
    ],
)
def test_what_is_no_image_is_refused_in_python(predictor, image, told):
    with pytest.raises(UserError, match=told):
        predictor.predict([image])


def test_one_view_and_eight_have_a_calibration_each(resnet, smear):
    one, eight = leukemia.load(resnet), leukemia.load(resnet, tta=True)
    for judge, name in ((one, "calibration_single_view"), (eight, "calibration")):
        assert judge.calibration.to_dict() == json.loads((resnet / f"{name}.json").read_text())
    a, b = eight.predict(smear), one.predict(smear)
    assert not np.array_equal(a.probabilities, b.probabilities)


def test_predicting_imports_nothing_that_only_training_needs(finished, smear):
    code = (
        "import sys, leukemia\n"
        f"leukemia.load({str(finished)!r}).predict({str(smear)!r})\n"
        "print([name for name in ('lightning', 'torchmetrics', 'albumentations', 'wandb', "
        "'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_run_on_embeddings_takes_no_images(cache, tmp_path):
    names = [f"{name}/{number:03d}.jpg" for name in CLASSES for number in range(8)]
    table = np.random.default_rng(0).normal(size=(32, 5)).astype(np.float32)
    np.savez(tmp_path / "e.npz", embeddings=table, files=names)
    settings = ["data=embeddings", "data.file=e.npz", "split=stratified", "trainer.max_epochs=1"]
    done = run_here("train", *settings, QUIET, "hydra.run.dir=run", cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with pytest.raises(UserError, match="takes no images"):
        leukemia.load(tmp_path / "run")


def test_settings_of_the_trainer_are_taken_and_checked(finished):
    assert leukemia.load(finished, precision="32-true").finished.hardware.half is None
    with pytest.raises(UserError, match=r"trainer\.precision"):
        leukemia.load(finished, precision="8")
