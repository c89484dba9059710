"""`python -m leukemia.export`: the file says what the run says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leukemia
from leukemia.runs.directory import sha256_of
from tests.commands import CLASSES, QUIET, SMALL, run_here

onnxruntime = pytest.importorskip("onnxruntime")


def exported(run: Path, form: str, output: Path, cache: Path) -> dict:
    done = run_here(
        "export", f"run={run}", f"format={form}", f"output={output}", cache=cache, cwd=run.parent
    )
    assert done.returncode == 0, done.stderr
    beside = output if output.is_dir() else output.parent
    return json.loads((beside / "export.json").read_text())


def prepared(run: Path, smears: Path) -> tuple[list[Path], np.ndarray]:
    files = [sorted((smears / name).iterdir())[0] for name in CLASSES]
    predictor = leukemia.load(run, accelerator="cpu", precision="32-true")
    from leukemia.data.files.inputs import prepare

    return files, np.stack(list(prepare(files, predictor.preprocess)))


def check_answers(found: dict, run: Path, files: list[Path]) -> None:
    said = leukemia.load(run, accelerator="cpu", precision="32-true").predict(files)
    assert np.abs(found["probabilities"] - said.probabilities).max() < 1e-4
    assert np.abs(found["p_cancer"] - said.probabilities[:, 1:].sum(1)).max() < 1e-4
    assert np.abs(found["distance"] - said.strange.scores).max() < 1e-3


def test_onnx_answers_as_the_run_does_for_any_batch(finished, smears, cache, tmp_path):
    path = tmp_path / "out" / "model.onnx"
    told = exported(finished, "onnx", path, cache)
    assert sorted(file.name for file in path.parent.iterdir()) == ["export.json", "model.onnx"]
    assert told["verified"]["part"] == "test"
    assert told["verified"]["images"] > 4
    assert told["verified"]["changed"] == 0
    assert max(told["verified"]["largest"].values()) <= 1e-4
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    files, pixels = prepared(finished, smears)
    for n in (1, 4):
        found = dict(zip(names, session.run(None, {"pixels": pixels[:n]}), strict=True))
        check_answers(found, finished, files[:n])
    about = session.get_modelmeta().custom_metadata_map
    # Of one view of each image, as the file and `predict` take it.
    calibration = json.loads((finished / "calibration_single_view.json").read_text())
    assert json.loads(about["classes"]) == CLASSES
    assert json.loads(about["benign"]) == ["Benign"]
    assert json.loads(about["threshold"]) == calibration["threshold"]
    assert json.loads(about["confidence"]) == calibration["confidence"]
    assert json.loads(about["image_size"]) == 64
    assert about["training"] == sha256_of(finished / "checkpoints" / "best.ckpt")


def test_the_script_of_the_docs_gives_the_same_answers(finished, smears, cache, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
    script = page.partition("```python\n")[2].partition("```")[0]
    assert len(script.splitlines()) <= 20
    exported(finished, "onnx", tmp_path / "model.onnx", cache)
    files, pixels = prepared(finished, smears)
    images = [tmp_path / f"{i}.png" for i in range(len(files))]
    for path, image in zip(images, pixels, strict=True):
        Image.fromarray(image).save(path)
    words = [sys.executable, "-c", script, str(tmp_path / "model.onnx"), *map(str, images)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=100)
    assert done.returncode == 0, done.stderr
    said = leukemia.load(finished, accelerator="cpu", precision="32-true").predict(files)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == list(said.predicted)
    found = np.array([line[2:6] for line in lines], float)
    assert np.abs(found - said.probabilities).max() < 1e-4
    assert [line[6] == "True" for line in lines] == said.strange.flags.tolist()


def test_what_disagrees_is_not_kept(finished, cache, tmp_path, monkeypatch):
    from leukemia.runs import export

    make, answers = export.FORMS["torchscript"]

    def wrong(path):
        true = answers(path)
        return lambda pixels: {name: value + 2e-4 for name, value in true(pixels).items()}

    monkeypatch.setitem(export.FORMS, "torchscript", (make, wrong))
    words = [f"run={finished}", "format=torchscript", f"output={tmp_path / 'new' / 'model.pt'}"]
    done = run_here("export", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "differs from" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_torchscript_answers_as_the_run_does(finished, smears, cache, tmp_path):
    import torch

    path = tmp_path / "model.pt"
    exported(finished, "torchscript", path, cache)
    files, pixels = prepared(finished, smears)
    answers = torch.jit.load(str(path))(torch.from_numpy(pixels))
    names = ("probabilities", "p_cancer", "embedding", "distance")
    found = {n: a.detach().numpy() for n, a in zip(names, answers, strict=True)}
    check_answers(found, finished, files)


def test_a_folder_of_hugging_face_is_loaded_back_with_the_same_answers(
    finished, smears, cache, tmp_path
):
    folder = tmp_path / "shared"
    exported(finished, "hf", folder, cache)
    names = {"README.md", "config.json", "export.json", "model.safetensors"}
    assert {file.name for file in folder.iterdir()} == names
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert (finished / "MODEL_CARD.md").read_text() in card
    assert str(cache) not in (folder / "config.json").read_text()  # no path of this machine
    files = [sorted((smears / name).iterdir())[0] for name in CLASSES]
    wanted, found = leukemia.load(finished).predict(files), leukemia.load(folder).predict(files)
    assert np.array_equal(found.probabilities, wanted.probabilities)
    assert np.array_equal(found.certain, wanted.certain)
    assert np.array_equal(found.strange.scores, wanted.strange.scores)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(leukemia.UserError, match="Export the run anew"):
        leukemia.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["model=baseline", "crop.size=224", "stages=[finetune]"],
        ["model=resnet18", "model.backbone.weights=null", "stages=[head]"],
        ["experiment=frozen", "model.backbone.weights=null", "crop.size=64"],
        ["model.backbone.name=vit_b_32", "crop.size=224", "stages=[head]"],
        ["model.backbone.name=efficientnet_b0", "crop.size=64", "stages=[head]"],
    ],
    ids=lambda words: words[0],
)
def test_every_kind_of_network_can_be_exported(words, cache, tmp_path):
    base = [*SMALL] if "backbone.name" in words[0] else ["data=synthetic", "data.per_class=20"]
    run = tmp_path / "run"
    quick = [QUIET, "runtime.threads=1", "report.map=null", f"hydra.run.dir={run}"]
    done = run_here("train", *base, *words, *quick, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = exported(run, "onnx", tmp_path / "out" / "model.onnx", cache)
    assert max(told["verified"]["largest"].values()) <= 1e-4
