"""The rooms of the package, and the arrows between them: they go one way, down the stairs."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "leukemia"
MODULES = sorted(PACKAGE.rglob("*.py"))
VERBS = {"train", "evaluate", "predict", "explain", "export", "study", "audit", "serve"}
GROUND = {"classes", "disk", "errors", "interrupt", "text"}
# Which rooms each may know, besides the ground floor and itself.
STAIRS = {
    "settings": set(),
    "data": set(),
    "models": set(),
    "measure": set(),
    "training": {"data", "models"},
    "report": {"measure"},
    "compose": {"data", "models", "settings", "training"},
    "runs": {"compose", "data", "measure", "models", "report", "settings", "training"},
    "tracking": {"measure", "report", "runs", "settings"},
    "serve": {"__init__", "cli", "data", "runs", "settings"},
    "audit": {"cli", "compose", "data", "measure", "report", "runs"},
    "study": {"cli", "compose", "data", "measure", "report", "runs", "settings", "tracking"},
}
KNOW_HYDRA = {"settings", "compose", "runs", "tracking", "cli", "__main__"}
# Room for what comes: a house that grows past it wants another plan, not another floor.
MOST_MODULES, MOST_LINES = 116, 400


@cache
def imported(path: Path) -> frozenset[str]:
    """What a module imports, also lazily; what only types need is left out."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


BY_NAME = {dotted(path): path for path in MODULES}


def known(path: Path) -> set[Path]:
    """The modules of the package that one imports, by the innermost name alone."""
    names = {name for name in imported(path) if name in BY_NAME}
    inner = {name for name in names if not any(other.startswith(f"{name}.") for other in names)}
    return {BY_NAME[name] for name in inner} - {path}


def imports_any(path: Path, *packages: str) -> set[str]:
    return {
        name
        for name in imported(path)
        if any(name == package or name.startswith(package + ".") for package in packages)
    }


def test_no_module_leads_back_to_itself_also_through_a_lazy_import():
    graph = {dotted(path): {dotted(other) for other in known(path)} for path in MODULES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(GROUND | set(STAIRS)))
def test_a_room_knows_those_below_it_alone(name: str):
    allowed = {name, "__init__"} | GROUND | STAIRS.get(name, set())
    wrong = {
        f"{dotted(path)} -> {dotted(other)}"
        for path in MODULES
        if room(path) == name
        for other in known(path)
        if room(other) not in allowed
    }
    assert wrong == set()


def test_every_module_lies_in_a_room_on_the_ground_floor_or_is_a_verb():
    rooms = {room(path) for path in MODULES}
    assert rooms == GROUND | set(STAIRS) | VERBS | {"__init__", "__main__", "cli"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_stays_where_it_belongs(path: Path):
    if room(path) not in KNOW_HYDRA | VERBS:
        assert not imports_any(path, "hydra", "omegaconf")
    if room(path) in {"measure", "report", "settings"} | GROUND:
        assert not imports_any(path, "torch", "lightning")
    if room(path) in VERBS:
        others = {f"leukemia.{verb}" for verb in VERBS - {room(path)}}
        assert not imports_any(path) & others
    if path.relative_to(PACKAGE).as_posix() != "data/augment.py":
        assert not imports_any(path, "albumentations")


def test_a_module_is_one_thing_and_the_house_stays_one_that_a_person_can_walk_through():
    lengths = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in MODULES}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}
    assert len([path for path in MODULES if path.name != "__init__.py"]) <= MOST_MODULES
