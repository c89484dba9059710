"""`python -m leukemia.predict`, from outside."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukemia.data.files import inputs
from tests.commands import CLASSES, QUIET, probabilities, rows, run, run_here, seal
from tests.odd_files import write_bad, write_good

COLUMNS = [
    *("file", "p_Benign", "p_Early", "p_Pre", "p_Pro", "p_cancer", "prediction", "certain"),
    *("p_Early_if_cancer", "p_Pre_if_cancer", "p_Pro_if_cancer", "ood_score", "ood"),
    *("decision", "why"),
]


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
    assert lines[0] == f"Passed over: {root / 'notes.csv'}"
    said = dict(line.strip().split(": ", 1) for line in lines[1:-1])
    assert list(said) == [f"bad/{name}" for name in sorted(reasons)]
    for name, reason in reasons.items():
        assert reason in said[f"bad/{name}"]
    assert lines[-1] == "leukemia: 7 of 15 files cannot be used (named above)."


def test_formats_that_keep_the_pixels_give_the_same_answer(judged):
    table = {row["file"]: probabilities(row) for row in rows(judged[1] / "predictions.csv")}
    expected = table.pop("good/plain.png")
    inexact = table.pop("good/one_frame.gif")  # 256 colours
    assert len(table) == 6
    for file, found in table.items():
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=file)
    np.testing.assert_allclose(inexact, expected, rtol=0, atol=0.2)


def test_what_follows_from_the_probabilities(judged):
    for row in rows(judged[1] / "predictions.csv"):
        p = np.array(probabilities(row))
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
        assert scores.probabilities[number].tolist() == probabilities(row)
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


def test_views_that_the_calibration_never_saw_are_said(finished, smear, cache, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(finished, plain)
    config = plain / "config.yaml"
    config.write_text(config.read_text().replace("tta: true", "tta: false"))
    seal(plain)
    settings = [f"run={plain}", f"input={smear}", "runtime.tta=true"]
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


MISTAKES = {
    "no run": (["input=."], "run="),
    "no input": (["run=nowhere"], "input="),
    "no such input": (["run={run}", "input=nowhere.jpg"], "nowhere.jpg"),
    "no match": (["run={run}", "input=*.jpg"], "*.jpg"),
    "empty folder": (["run={run}", "input=."], "no image"),
    "no run directory": (["run=nowhere", "input={smear}"], "config.yaml"),
    "unknown format": (["run={run}", "input={smear}", "format=xml"], "format"),
    "output is a folder": (["run={run}", "input={smear}", "output={run}"], "is a folder"),
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


# One failure never takes other work with it -----------------------------------------------


@pytest.mark.parametrize("n_images", [5, 70], ids=["few", "many"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "too large for the memory"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (RuntimeError("of a kind\nthat nobody thought of"), "RuntimeError (of a kind that nobody"),
    ],
)
def test_whatever_happens_to_one_file_the_others_are_judged(
    predictor, smears, monkeypatch, error, told, n_images
):
    def read(path):
        if path == struck:
            raise error
        return real(path)

    real = inputs.read_image
    paths = sorted(smears.rglob("*.jpg"))[:n_images]
    struck = paths[3]
    names = [path.name for path in paths]
    whole, _ = predictor.score(names, paths)
    monkeypatch.setattr(inputs, "read_image", read)
    scores, bad = predictor.score(names, paths)
    assert [file.path for file in bad] == [struck.name]
    assert told in bad[0].reason
    assert list(scores.files) == [name for name in names if name != struck.name]
    np.testing.assert_allclose(
        scores.probabilities, np.delete(whole.probabilities, 3, axis=0), atol=0.05
    )


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_linked_folders_are_judged_too_and_circles_are_named(
    verb, finished, smears, cache, tmp_path
):
    here, away = tmp_path / "images", tmp_path / "away"
    # Of the test part: evaluate refuses what the run was trained on, whatever its folder is called.
    unseen = [row["file"] for row in rows(finished / "split.csv") if row["part"] == "test"]
    for name, folder in (("Pro", here / "real"), ("Pre", away)):
        folder.mkdir(parents=True)
        for file in unseen:
            if file.startswith(f"{name}/"):
                shutil.copy(smears / file, folder)
    (here / "linked").symlink_to(away)
    (here / "round").symlink_to(here)
    words = [f"input={here}"] if verb == "predict" else [f"data.root={here}", "output=."]
    done = run_here(verb, f"run={finished}", *words, QUIET, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Passed over: {here / 'round'}/ (a link to a folder" in done.stderr
    folders = [row["file"].split("/")[0] for row in rows(tmp_path / "predictions.csv")]
    assert folders == ["linked"] * 4 + ["real"] * 4
