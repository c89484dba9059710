"""`python -m leukemia.explain`, from outside: pictures, a table, and what it refuses."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukemia.data.synthetic import paint_smears
from leukemia.report import attention as heatmap
from leukemia.runs.explainer import Explainer, attention
from leukemia.runs.finished import open_finished
from tests.commands import run, run_here

PARTITION = ("nuclei", "background", "corner")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline after an epoch on a few painted smears."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    settings = [
        "model=baseline",
        "data=synthetic",
        "data.per_class=5",
        "stage.finetune.epochs=1",
        "stage.finetune.batch_size=8",
        "runtime.progress=false",
        "runtime.threads=1",
    ]
    cache = tmp_path_factory.mktemp("cache")
    done = run_here("train", *settings, f"hydra.run.dir={folder}", cache=cache, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_smears(tmp_path_factory.mktemp("smears") / "s", per_class=1, seed=1)


def explain(baseline: Path, cwd: Path, *overrides: str):
    return run_here("explain", f"run={baseline}", *overrides, cache=cwd, cwd=cwd)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def maps(baseline: Path, smears: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of a folder."""
    cwd = tmp_path_factory.mktemp("explained")
    done = explain(baseline, cwd, f"input={smears}", "output=maps")
    assert done.returncode == 0, done.stderr
    assert "4 images explained in maps" in done.stdout
    return cwd / "maps"


def test_a_folder_becomes_a_picture_an_image_and_a_table(maps: Path):
    pictures = {path.relative_to(maps).as_posix() for path in maps.rglob("*.png")}
    files = [f"{name}/WBC-{name}-001.jpg" for name in ("Benign", "Early", "Pre", "Pro")]
    assert pictures == {*(f"{file}.png" for file in files), "attention.png"}
    for name in pictures:
        with Image.open(maps / name) as picture:
            picture.load()
    rows = table(maps / "explain.csv")
    assert [row["file"] for row in rows] == files
    assert {row["prediction"] for row in rows} <= {"Benign", "Early", "Pre", "Pro"}
    assert all(0 <= float(row["p_cancer"]) <= 1 for row in rows)
    assert all(float(row["area_corner"]) == round(34 * 54 / 224**2, 6) for row in rows)


@pytest.mark.parametrize("kind", ["area", "grad_cam", "occlusion"])
def test_shares_sum_to_one(maps: Path, kind: str):
    rows = [
        [row[f"{kind}_{region}"] for region in PARTITION] for row in table(maps / "explain.csv")
    ]
    # Where nothing speaks for the class a map has no mass; covering finds something everywhere.
    known = [list(map(float, row)) for row in rows if kind != "grad_cam" or any(row)]
    assert all(sum(row) == pytest.approx(1, abs=1e-5) and min(row) >= 0 for row in known)


def test_what_is_said_of_an_image_is_what_predict_says(
    baseline: Path, smears: Path, maps: Path, tmp_path: Path
):
    done = run_here(
        "predict", f"run={baseline}", f"input={smears}", "output=p.csv", cache=tmp_path,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, explained = table(tmp_path / "p.csv"), table(maps / "explain.csv")
    assert [row["prediction"] for row in said] == [row["prediction"] for row in explained]
    for one, other in zip(said, explained, strict=True):
        # In batches of another size, so bfloat16 may round otherwise.
        assert float(one["p_cancer"]) == pytest.approx(float(other["p_cancer"]), abs=5e-3)


def test_bad_files_are_listed_and_good_ones_written(baseline: Path, smears: Path, tmp_path: Path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(smears / "Pre" / "WBC-Pre-001.jpg", mixed / "good.jpg")
    (mixed / "empty.jpg").touch()
    done = explain(baseline, tmp_path, f"input={mixed}", "output=maps", "target=cancer")
    assert done.returncode == 1
    assert "empty.jpg: empty file (0 bytes)" in done.stderr
    assert "1 of 2 files cannot be used" in done.stderr
    assert [row["file"] for row in table(tmp_path / "maps" / "explain.csv")] == ["good.jpg"]
    assert (tmp_path / "maps" / "good.jpg.png").is_file()


def test_a_second_call_does_not_explain_its_own_pictures(
    baseline: Path, smears: Path, tmp_path: Path
):
    shutil.copy(smears / "Pre" / "WBC-Pre-001.jpg", tmp_path / "one.jpg")
    assert explain(baseline, tmp_path, "input=.").returncode == 0
    done = explain(baseline, tmp_path, "input=.")
    assert done.returncode == 2
    assert "output 'explained' holds an image of input" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["run=nowhere"], "Expected 'nowhere' to be a run directory"),
        (["target=Late"], "one of predicted, cancer, Benign, Early, Pre, Pro, but got 'Late'"),
        (["stride=33"], "Expected stride to be a whole number from 1 to 32, but got 33"),
        (["input=nothing.jpg"], "no file or folder 'nothing.jpg'"),
        (["run=null"], "Expected run=..., but got none"),
        (["output=file"], "Expected output to be a folder, but 'file' is a file"),
    ],
)
def test_a_mistake_is_one_line(
    baseline: Path, smears: Path, tmp_path: Path, overrides: list[str], said: str
):
    (tmp_path / "file").touch()
    given = {"run": str(baseline), "input": str(smears)}
    given |= dict(text.split("=") for text in overrides)
    settings = [f"{key}={value}" for key, value in given.items() if value != "null"]
    done = run_here("explain", *settings, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "explained").exists()


def test_a_run_on_embeddings_has_nothing_to_look_at(smears: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    names = ("Benign", "Early", "Pre", "Pro")
    files = [f"{name}/WBC-{name}-{i:03d}.jpg" for name in names for i in range(1, 11)]
    np.savez(tmp_path / "e.npz", embeddings=rng.random((40, 8), np.float32), files=np.array(files))
    done = run_here(
        "train", "data=embeddings", "data.file=e.npz", "split=stratified", "runtime.progress=false",
        "stage.head.epochs=1", "stage.head.batch_size=8", "hydra.run.dir=run", cache=tmp_path,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = explain(tmp_path / "run", tmp_path, f"input={smears}")
    assert done.returncode == 2
    assert "was trained on embeddings" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_attention_for_a_report_is_one_number_an_image_and_unknown_where_there_is_none(
    baseline: Path, smears: Path, tmp_path: Path
):
    explainer = Explainer(open_finished(baseline, threads=1), methods=["occlusion"])
    (tmp_path / "bad.jpg").write_text("no image")
    images = [*sorted(smears.glob("*/*.jpg")), tmp_path / "bad.jpg"]
    found = attention(explainer, images, np.eye(4)[[0, 1, 2, 3, 0]])
    assert list(found.shares) == ["occlusion"]
    shares = found.shares["occlusion"]
    np.testing.assert_array_equal(np.isnan(shares["nuclei"]), [False] * 4 + [True])
    np.testing.assert_allclose(sum(shares[name] for name in PARTITION)[:4], 1)


def test_it_runs_as_a_command(tmp_path: Path):
    done = run("explain", "-m", "run=a,b", "input=.", cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "leukemia: leukemia.explain takes no -m: call it once for each run.\n"
    assert list(tmp_path.iterdir()) == []


def test_whatever_happens_to_one_image_the_others_are_explained(
    baseline: Path, smears: Path, tmp_path: Path, monkeypatch
):
    def draw(picture, maps, title):
        if title.startswith("WBC-Pre-001"):
            raise MemoryError
        return real(picture, maps, title)

    real = heatmap.heat_figure
    monkeypatch.setattr(heatmap, "heat_figure", draw)
    done = explain(baseline, tmp_path, f"input={smears}", "output=maps")
    assert done.returncode == 1
    assert "Pre/WBC-Pre-001.jpg: too large for the memory" in done.stderr
    assert "3 images explained" in done.stdout
    files = [row["file"] for row in table(tmp_path / "maps" / "explain.csv")]
    assert sorted(set(files)) == [
        f"{name}/WBC-{name}-001.jpg" for name in ("Benign", "Early", "Pro")
    ]
    assert not list((tmp_path / "maps").rglob("*Pre*"))


def test_linked_folders_are_explained_too(baseline: Path, smears: Path, tmp_path: Path):
    here = tmp_path / "images"
    shutil.copytree(smears / "Pro", here / "real")
    (here / "linked").symlink_to(smears / "Pre")
    (here / "round").symlink_to(here)
    done = explain(baseline, tmp_path, f"input={here}", "output=maps")
    assert done.returncode == 0
    assert "2 images explained" in done.stdout
    assert f"Passed over: {here / 'round'}/ (a link" in done.stderr
