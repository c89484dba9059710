"""`python -m leukemia.predict` and `leukemia.load`, from outside."""

import csv
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
from leukemia.report.calibration import fit_calibration
from leukemia.report.predictions import Predictions
from tests.commands import run, run_here
from tests.odd_files import write_bad, write_good

CLASSES = ["Benign", "Early", "Pre", "Pro"]
COLUMNS = [
    *("file", "p_Benign", "p_Early", "p_Pre", "p_Pro", "p_cancer", "prediction", "certain"),
    *("p_Early_if_cancer", "p_Pre_if_cancer", "p_Pro_if_cancer", "ood_score", "ood"),
]
QUIET = "trainer.progress=false"


@pytest.fixture(scope="module")
def smears(finished: Path, cache: Path) -> Path:
    """The painted smears that the finished run was trained on."""
    return next(cache.glob("synthetic-20-*"))


@pytest.fixture(scope="module")
def smear(smears: Path) -> Path:
    return sorted((smears / "Early").iterdir())[0]


@pytest.fixture(scope="module")
def predictor(finished: Path) -> "leukemia.predictor.Predictor":
    return leukemia.load(finished)


@pytest.fixture(scope="module")
def folder(smear: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder of good and bad files and notes, and what is wrong with the bad ones."""
    root = tmp_path_factory.mktemp("odd")
    picture = Image.open(smear).convert("RGB")
    write_good(root / "good", picture)
    reasons = write_bad(root / "bad", picture)
    (root / "notes.csv").write_text("no image")
    return root, reasons


@pytest.fixture(scope="module")
def judged(
    finished: Path,
    folder: tuple[Path, dict[str, str]],
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The command on that folder, and where it ran."""
    here = tmp_path_factory.mktemp("here")
    done = run("predict", f"run={finished}", f"input={folder[0]}", QUIET, cache=cache, cwd=here)
    return done, here


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(row: dict[str, str]) -> list[float]:
    return [float(row[f"p_{name}"]) for name in CLASSES]


def test_all_good_files_are_written_and_nothing_else(judged, folder):
    done, here = judged
    table = rows(here / "predictions.csv")
    good = sorted(path.name for path in (folder[0] / "good").iterdir())
    assert [row["file"] for row in table] == [f"good/{name}" for name in good]
    assert list(table[0]) == COLUMNS
    assert [path.name for path in here.iterdir()] == ["predictions.csv"]
    assert done.stdout.count("no diagnosis") == 1
    assert "painted smears only" in done.stdout


def test_bad_files_are_listed_at_the_end_with_status_1(judged, folder):
    done, _ = judged
    root, reasons = folder
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == f"Passed over, by their suffix: {root / 'notes.csv'}"
    said = dict(line.strip().split(": ", 1) for line in lines[1:-1])
    assert list(said) == [f"bad/{name}" for name in sorted(reasons)]
    for name, reason in reasons.items():
        assert reason in said[f"bad/{name}"]
    assert lines[-1] == "leukemia: 7 of 15 files cannot be used (named above)."


def test_formats_that_keep_the_pixels_give_the_same_answer(judged):
    table = {row["file"]: numbers(row) for row in rows(judged[1] / "predictions.csv")}
    expected = table.pop("good/plain.png")
    inexact = table.pop("good/one_frame.gif")  # 256 colours
    assert len(table) == 6
    for file, found in table.items():
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=file)
    np.testing.assert_allclose(inexact, expected, rtol=0, atol=0.2)


def test_what_follows_from_the_probabilities(judged):
    for row in rows(judged[1] / "predictions.csv"):
        p = np.array(numbers(row))
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert float(row["p_cancer"]) == pytest.approx(1 - p[0], abs=1e-12)
        assert row["prediction"] == CLASSES[p.argmax()]
        given = [float(row[f"p_{name}_if_cancer"]) for name in CLASSES[1:]]
        np.testing.assert_allclose(given, p[1:] / p[1:].sum(), rtol=1e-12)
        assert row["certain"] in ("yes", "no")


def test_json_lines_and_python_equal_the_csv(judged, folder, finished, predictor, cache):
    here, root = judged[1], folder[0] / "good"
    output = here.parent / "lines.jsonl"
    done = run_here(
        "predict", f"run={finished}", f"input={root}/*", f"output={output}", cache=cache, cwd=here
    )
    assert done.returncode == 0, done.stderr
    table = rows(here / "predictions.csv")
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["file"] for line in lines] == [f"{root.parent}/{row['file']}" for row in table]
    paths = [root.parent / row["file"] for row in table]
    scores = predictor.predict(paths)
    assert scores.files == tuple(map(str, paths))
    for number, (line, row) in enumerate(zip(lines, table, strict=True)):
        for name in COLUMNS[1:]:
            expected = {"yes": True, "no": False}.get(row[name], row[name])
            number_like = name.startswith("p_") or name == "ood_score"
            assert line[name] == (float(expected) if number_like else expected)
        assert scores.probabilities[number].tolist() == numbers(row)
        assert scores.p_cancer[number] == line["p_cancer"]
        assert scores.predicted[number] == line["prediction"]
        assert scores.certain[number] == line["certain"]


def test_one_image_is_printed_as_in_the_paper(finished, folder, predictor, cache, tmp_path):
    image = folder[0] / "good" / "Größe 細胞 (1).png"
    done = run_here("predict", f"run={finished}", f"input={image}", cache=cache, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    scores = predictor.predict(image)
    p, cancer = scores.probabilities[0], scores.p_cancer[0]
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["Model", "output:"] + [
        text for name, value in zip(CLASSES, p, strict=True) for text in (name, f"{value:.4f}")
    ]
    assert lines[1] == f"Probability of cancer: {cancer:.4f}"
    assert lines[2].startswith(f"Predicted {scores.predicted[0]}, ")
    assert lines[3:6] == [
        f"Probability of {name}, if cancer: {value / cancer:.4f}"
        for name, value in zip(CLASSES[1:], p[1:], strict=True)
    ]
    assert lines[-1] == "Research software, no diagnosis."
    assert list(tmp_path.iterdir()) == []


def test_one_bad_image_is_named_with_its_reason(finished, folder, cache, tmp_path):
    image = folder[0] / "bad" / "text.jpg"
    done = run_here("predict", f"run={finished}", f"input={image}", cache=cache, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{image}: " in done.stderr
    assert "1 of 1 files" in done.stderr


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
    return folder


def test_a_run_from_before_calibration_is_calibrated_on_its_validation(finished, smears, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(finished, older)
    (older / "calibration.json").unlink()
    images = sorted(smears.rglob("*.jpg"))[::9]
    found = leukemia.load(older, tta=True).predict(images)
    expected = leukemia.load(finished, tta=True).predict(images)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.certain, expected.certain)


def as_trained(run: Path, *, tta: bool = True) -> "leukemia.predictor.Predictor":
    """With the views of its training's end, and uncalibrated as those predictions are."""
    predictor = leukemia.load(run, tta=tta)
    predictor.calibration = replace(predictor.calibration, temperature=1.0)
    return predictor


def test_the_run_s_own_test_images_get_its_own_predictions(finished, smears):
    table = rows(finished / "predictions" / "test.csv")
    found = as_trained(finished).predict([smears / row["file"] for row in table])
    np.testing.assert_allclose(
        found.probabilities, [numbers(row) for row in table], rtol=0, atol=1e-6
    )


def test_real_test_images_get_the_run_s_own_predictions(aria: Path, cache: Path, tmp_path: Path):
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        for file in sorted((aria / name).iterdir())[::20]:
            shutil.copy(file, tmp_path / "images" / name)
    settings = ["data=folder", f"data.root={tmp_path / 'images'}", "split=stratified"]
    settings += ["model.backbone.weights=null", "trainer.max_epochs=1", "crop.size=96", QUIET]
    settings += ["model.backbone.resize=null", "model.backbone.layers=[layer1]"]
    folder = tmp_path / "run"
    done = run_here("train", *settings, f"hydra.run.dir={folder}", cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = rows(folder / "predictions" / "test.csv")
    found = as_trained(folder, tta=False).predict(
        [tmp_path / "images" / row["file"] for row in table]
    )
    np.testing.assert_allclose(
        found.probabilities, [numbers(row) for row in table], rtol=0, atol=1e-6
    )


def test_noise_is_out_of_distribution_an_empty_field_is_refused_and_smears_are_neither(
    predictor, smears
):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (64, 64, 3), np.uint8)
    glass = np.clip(random.normal(245, 1, (64, 64, 3)), 0, 255).astype(np.uint8)
    assert predictor.predict(noise).strange.flags.tolist() == [True]
    with pytest.raises(UserError, match="shows no cell"):
        predictor.predict(glass)
    assert predictor.predict(sorted(smears.rglob("*.jpg"))).strange.flags.mean() < 0.15


def test_a_run_that_cannot_tell_says_what_helps_and_evaluate_does(
    finished, smears, smear, cache, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "ood.npz").unlink()
    output = tmp_path / "out.csv"
    words = [f"run={run}", f"input={smear}", f"output={output}"]
    before = run_here("predict", *words, cache=cache, cwd=tmp_path)
    assert "No out-of-distribution scores" in before.stdout
    assert list(rows(output)[0]) == COLUMNS[:-2]
    told = f"`python -m leukemia.evaluate run={run}`"
    assert told in before.stdout
    assert run_here("evaluate", f"run={run}", cache=cache, cwd=tmp_path).returncode == 0
    after = run_here("predict", *words, cache=cache, cwd=tmp_path)
    assert "No out-of-distribution scores" not in after.stdout
    assert list(rows(output)[0]) == COLUMNS
    with np.load(run / "ood.npz") as ours, np.load(finished / "ood.npz") as theirs:
        np.testing.assert_allclose(ours["bank"], theirs["bank"], atol=1e-6)


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


def test_one_view_and_eight_have_a_calibration_each(finished, smear, predictor):
    eight = leukemia.load(finished, tta=True)
    for judge, name in ((predictor, "calibration_single_view"), (eight, "calibration")):
        assert judge.calibration.to_dict() == json.loads((finished / f"{name}.json").read_text())
    a, b = eight.predict(smear), predictor.predict(smear)
    assert not np.array_equal(a.probabilities, b.probabilities)


def test_views_that_the_calibration_never_saw_are_said(finished, smear, cache, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(finished, plain)
    config = plain / "config.yaml"
    config.write_text(config.read_text().replace("tta: true", "tta: false"))
    settings = [f"run={plain}", f"input={smear}", "trainer.tta=true"]
    done = run_here("predict", *settings, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "only roughly" in done.stdout


def test_an_earlier_table_is_replaced(finished, smears, predictor, cache, tmp_path):
    images, output = smears / "Pre", tmp_path / "new" / "table.jsonl"
    earlier = predictor.predict(sorted(images.iterdir())[:2]).to_csv()
    output.parent.mkdir()
    output.write_text(earlier)
    settings = [f"run={finished}", f"input={images}", f"output={output}", QUIET]
    done = run_here("predict", *settings, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Written to {output}" in done.stdout
    assert len(output.read_text().splitlines()) == 20


def test_help_comes_without_torch_and_load_is_known_without_it(tmp_path):
    code = (
        "import sys, leukemia; from leukemia import predict; sys.argv[1:] = ['--help']\n"
        "assert callable(leukemia.load)\n"
        "try: predict.main()\n"
        "finally: print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "no diagnosis" in done.stdout
    assert done.stdout.splitlines()[-1] == "False False"


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


MISTAKES = {
    "no run": (["input=."], "run="),
    "no input": (["run=nowhere"], "input="),
    "no such input": (["run={run}", "input=nowhere.jpg"], "nowhere.jpg"),
    "no match": (["run={run}", "input=*.jpg"], "*.jpg"),
    "empty folder": (["run={run}", "input=."], "no image"),
    "no run directory": (["run=nowhere", "input={smear}"], "config.yaml"),
    "unknown format": (["run={run}", "input={smear}", "format=xml"], "format"),
    "output is a folder": (["run={run}", "input={smear}", "output={run}"], "is a folder"),
    "several runs": (["-m", "run={run}", "input={smear}"], "-m"),
    "unknown setting": (["run={run}", "inputs=a"], "input"),
    "a run's table as output": (
        ["run={run}", "input={smear}", "output={run}/split.csv"],
        "split.csv",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(name, finished, smear, cache, tmp_path):
    overrides, told = MISTAKES[name]
    settings = [text.format(run=finished, smear=smear) for text in overrides]
    done = run_here("predict", *settings, cache=cache, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert told in lines[0]
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


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
