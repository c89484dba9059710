"""The one-way street: classes -> data -> model -> build -> the verbs."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "leukemia"
MODULES = sorted(PACKAGE.rglob("*.py"))
VERBS = {"train", "evaluate", "predict", "explain", "study", "audit"}
KNOW_HYDRA = VERBS | {"build", "run", "cli", "settings", "trials", "results", "tracking"}
KNOW_HYDRA |= {"conclude", "fitting", "folds", "schema", "search"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_any(path: Path, *packages: str) -> set[str]:
    return {
        name
        for name in imported(path)
        if any(name == package or name.startswith(package + ".") for package in packages)
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path):
    forbidden = {
        "data": ("leukemia.model", "leukemia.report", "leukemia.build", "leukemia.run"),
        "model": ("leukemia.data", "leukemia.report", "leukemia.build", "leukemia.run"),
        "report": ("torch", "leukemia.data", "leukemia.model", "leukemia.build", "leukemia.run"),
    }.get(room(path), ())
    assert not imports_any(path, *forbidden)
    if room(path) not in KNOW_HYDRA:
        assert not imports_any(path, "hydra", "omegaconf")
    if room(path) in VERBS:
        assert not imports_any(path, *(f"leukemia.{verb}" for verb in VERBS - {room(path)}))
    if path.relative_to(PACKAGE).as_posix() != "data/augment.py":
        assert not imports_any(path, "albumentations")


def test_a_module_is_one_thing():
    lengths = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in MODULES}
    assert {name: n for name, n in lengths.items() if n > 250} == {}
