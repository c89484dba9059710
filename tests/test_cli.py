"""What the commands share: paths as typed, and one call for one thing."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from leukemia.cli import quoted
from tests.commands import run_here

NAMES = [
    *("folder/*.jpg", "a b/c (1).jpg", "größe 細胞.jpg", "a=b.jpg", "a,b.jpg", "x[0-9].jpg"),
    *("x{1}.jpg", "it's.jpg", 'say "x".jpg', "a#b&c!", "'", "2024", "null", "~/x", "-x"),
    *("C:\\x\\y.jpg", "C:\\x\\", "a\\'b"),
]


def parsed(argument: str) -> object:
    return OverridesParser.create().parse_override(quoted(argument, "predict")).value()


@pytest.mark.parametrize("name", NAMES)
def test_a_path_may_hold_anything(name):
    assert parsed(f"input={name}") == name


def test_a_list_of_paths_stays_a_list():
    assert parsed("input=[größe a.jpg, b(1).jpg]") == ["größe a.jpg", "b(1).jpg"]
    assert parsed("input=['a,b.jpg',c.jpg]") == ["a,b.jpg", "c.jpg"]
    assert parsed("input=[]") == []


def test_what_is_quoted_already_and_what_is_no_path_stay_as_typed():
    for argument in ("input='a b'", "input=", "trainer.tta=true", "-m", "seed=0,1"):
        assert quoted(argument, "predict") == argument


@pytest.mark.parametrize(
    ("verb", "each"),
    [
        *(("predict", "run"), ("explain", "run"), ("evaluate", "run")),
        *(("study", "study"), ("audit", "dataset")),
    ],
)
def test_what_makes_no_run_takes_no_multirun(verb, each, tmp_path: Path):
    done = run_here(verb, "-m", "seed=0,1", cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    told = f"leukemia: leukemia.{verb} takes no -m: call it once for each {each}.\n"
    assert done.stderr == told
    assert list(tmp_path.iterdir()) == []
