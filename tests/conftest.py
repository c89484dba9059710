"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import pytest

import leukemia
from tests.commands import SMALL, painted, run_here, write_toy

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# The same numbers on every processor, also in the processes that tests start. With
# LEUKEMIA_PRECISION=bf16-mixed the whole suite computes in bfloat16, which any CPU can.
os.environ.setdefault("LEUKEMIA_PRECISION", "32-true")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run commands first: with short ones at the end, both processes end together."""
    items.sort(key=lambda item: item.path.parent.name in ("data", "model", "report"))


@pytest.fixture(scope="session")
def aria() -> Path:
    """The real images, where `LEUKEMIA_DATA` names them."""
    root = os.environ.get("LEUKEMIA_DATA")
    if not root:
        pytest.skip("LEUKEMIA_DATA is unset: the real images are not at hand")
    return Path(root)


@pytest.fixture(scope="session")
def published(aria: Path) -> Path:
    """The paper's own masks and embeddings, beside the real images."""
    folder = aria.parent / "published"
    if not folder.is_dir():
        pytest.skip(f"no folder 'published' beside LEUKEMIA_DATA ({aria})")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands of the session keep painted smears and pixels."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run over both stages; no test changes it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = run_here("train", *SMALL, f"hydra.run.dir={folder}", cache=cache, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "PAINTED SMEARS" in done.stdout
    return folder


@pytest.fixture(scope="session")
def resnet(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on a random ResNet18, to which smears look different, unlike to the finished run."""
    folder = tmp_path_factory.mktemp("resnet") / "run"
    words = [*SMALL, "model.backbone.name=resnet18", "stages=[head]", "report.map=null"]
    done = run_here("train", *words, f"hydra.run.dir={folder}", cache=cache, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def smears(finished: Path, cache: Path) -> Path:
    """The painted smears that the finished run was trained on."""
    return painted(cache)


@pytest.fixture(scope="session")
def smear(smears: Path) -> Path:
    """One of them."""
    return sorted((smears / "Early").iterdir())[0]


@pytest.fixture(scope="module")
def predictor(finished: Path) -> "leukemia.runs.predictor.Predictor":
    """The finished run, ready to predict."""
    return leukemia.load(finished)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to run in, with embeddings of four overlapping classes."""
    folder = tmp_path_factory.mktemp("home")
    write_toy(folder / "toy.npz")
    return folder
