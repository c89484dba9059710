"""`stain=`, from the settings to what a run sees of an image, in training and after."""

import csv
from pathlib import Path

import hydra
import numpy as np
import pytest

import leukemia
from leukemia.cli import CONF
from leukemia.compose.preprocess import build_classes, build_preprocess
from leukemia.data.files.images import read_image
from leukemia.data.image.stain import find_glass, find_stains, find_tissue, to_lab
from leukemia.errors import UserError
from tests.commands import run_here


def configured(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", list(overrides))


def normaliser(*overrides):
    return build_preprocess(configured(*overrides)).stain


def test_by_default_images_keep_their_colours():
    preprocess = build_preprocess(configured())
    assert preprocess.stain is None
    assert not preprocess.grey


def test_what_is_grey_can_be_normalised_first():
    preprocess = build_preprocess(configured("stain=background", "stain.grey=true"))
    assert preprocess.grey
    assert preprocess.stain == normaliser("stain=background")
    assert build_preprocess(configured("stain=grey")).grey


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["crop.size=large"], "crop.size to be a whole number from 1 on, but got 'large'"),
        (["crop.size=0.5"], "crop.size to be a whole number from 1 on, but got 0.5"),
        (["mask.background=dark"], "mask.background to be between 0 (black) and 1 (untouched)"),
        (["mask.ranges=5"], "mask.ranges to hold at least one range, but got 5"),
        (["mask.ranges=[[1,2]]"], "Expected mask.ranges[0] to be (low, high)"),
        (["mask.ranges=[[[1,2,3],4]]"], "Expected mask.ranges[0] to be (low, high)"),
        (["stain._target_=leukemia.data.image.stain.Vahadane"], "Vahadane cannot be imported"),
        (["stain._target_=leukemia.data.image.stain.Macenko"], "stain lacks stains, conc"),
        (["stain.grey=half"], "stain.grey to be true or false, but got 'half'"),
        (["stain=grey", "mask=kmeans"], "mask=kmeans finds nuclei by their colour"),
        (["mask=kmeans", "mask.clusters=many"], "mask.clusters to be a whole number"),
        (["stain=reinhard", "stain.pixels=cells"], "tissue, all, but got 'cells'"),
        (["stain=reinhard", "stain.std=[1,2]"], "stain.std to be 3 numbers"),
        (["stain=background", "stain.glass=white"], "stain.glass to be 3 numbers"),
        (["stain=macenko", "stain.concentrations=[0.5,a]"], "stain.concentrations to be 2"),
        (["stain=macenko", "stain.stains=[[1,0,0],[1,0,0]]"], "stain.stains to be two"),
        (["stain=macenko", "stain.stains=2"], "stain.stains to be two directions, but got 2"),
    ],
)
def test_a_mistake_is_named(overrides, told):
    with pytest.raises(UserError) as raised:
        build_preprocess(configured(*overrides))
    assert told in str(raised.value)


def test_class_folders_may_be_called_by_numbers_and_are_a_list():
    found = build_classes(configured("data.classes.names=[0,1]", "data.classes.benign=0"))
    assert (found.names, found.benign) == (("0", "1"), "0")
    with pytest.raises(UserError, match=r"data\.classes\.names to be a list of folders, but got 4"):
        build_classes(configured("data.classes.names=4"))


@pytest.mark.slow
def test_the_targets_are_those_of_the_training_images(aria: Path):
    # Every tenth of the images that experiments/trust/stain_target.py measures.
    images = [read_image(aria / name) for name in sample(aria)]
    anchored = [normaliser("stain=background")(rgb) for rgb in images]
    pixels = [to_lab(rgb)[find_tissue(rgb, find_glass(rgb))] for rgb in anchored]
    stains = [find_stains(rgb) for rgb in images]

    def near(values, target, atol):
        np.testing.assert_allclose(np.median(values, axis=0), target, atol=atol)

    near([find_glass(rgb) for rgb in images], normaliser("stain=background").glass, 3)
    near([p.mean(axis=0) for p in pixels], normaliser("stain=reinhard").mean, 1.5)
    near([p.std(axis=0) for p in pixels], normaliser("stain=reinhard").std, 1.5)
    near([found[1] for found in stains], normaliser("stain=macenko").stains, 0.05)
    near([found[2] for found in stains], normaliser("stain=macenko").concentrations, 0.1)


def sample(aria: Path) -> list[str]:
    files = (path.relative_to(aria).as_posix() for path in sorted(aria.rglob("*.jpg")))
    return [file for file in files if int(file[-7:-4]) in range(5, 301, 10)]


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_a_run_sees_the_same_in_training_evaluation_and_prediction(cache: Path, tmp_path: Path):
    folder = tmp_path / "run"
    words = ["data=synthetic", "data.per_class=20", "model.backbone.weights=null", "crop.size=64"]
    words += [
        "experiment=finetuned",
        "stain=macenko",
        "model.backbone.name=shufflenet_v2_x0_5",
        "trainer.max_epochs=1",
        "runtime.progress=false",
    ]
    words += ["runtime.tta=false", "report.map=null", f"hydra.run.dir={folder}"]
    done = run_here("train", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trained = rows(folder / "predictions/test.csv")
    words = [f"run={folder}", "evaluate.explain=false", f"output={tmp_path / 'out'}"]
    done = run_here("evaluate", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "out/predictions.csv") == trained

    painted = next(cache.glob("synthetic-20-*"))
    images = [read_image(painted / row[0]) for row in trained]
    predictor = leukemia.load(folder)
    temperature = predictor.calibration.temperature
    for changed in (images, [np.rint(0.7 * rgb).astype(np.uint8) for rgb in images]):
        found = predictor.predict(changed).probabilities ** temperature
        found /= found.sum(axis=1, keepdims=True)
        wanted = [[float(v) for v in row[2:6]] for row in trained]
        if changed is images:
            np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert np.abs(found - wanted).mean() < 0.03  # also of darker photographs
