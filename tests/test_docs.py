"""What the words say of commands, files and figures is true of the code."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from leukemia import cli

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
ANSWERS = sorted((ROOT / "experiments").rglob("README.md"))
WORDS = [*PAGES, *sorted((ROOT / "experiments").rglob("*.md")), *(ROOT / "benchmarks").glob("*.md")]
VERBS = ("train", "evaluate", "predict", "explain", "study", "audit")

# Settings that are paths, as the verbs hand them to `cli.run_verb`.
PATHS = ("run", "runs", "input", "output", "data.root", "data.groups")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(path: Path) -> Iterator[str]:
    """Yield each command line of a verb that a page shows, in a block or within a sentence."""
    for line in path.read_text().splitlines():
        quoted = re.findall(r"`([^`]+)`", line)
        for text in quoted or [line]:
            if found := re.search(rf"\bpython -m leukemia\.(?:{'|'.join(VERBS)})\b.*", text):
                yield found.group()


def parsed(command: str) -> tuple[str, tuple[str, ...]]:
    """Return the verb and its overrides, with placeholders such as `<run>` as plain names."""
    words = shlex.split(re.sub(r"[<>]", "", command), comments=True)
    overrides = [cli.quoted(word, PATHS) for word in words[3:] if not word.startswith("-")]
    return words[2].removeprefix("leukemia."), tuple(overrides)


SHOWN = {
    parsed(command): f"{name(path)}: {command}"
    for path in [*PAGES, *ANSWERS]
    for command in commands(path)
}


@pytest.fixture(scope="module", autouse=True)
def conf() -> Iterator[None]:
    with hydra.initialize_config_dir(str(cli.CONF), version_base="1.3"):
        yield


def first_trial(override: str) -> str:
    """Return an override with one value, where it lists what a study shall try."""
    known = OverridesParser.create().parse_override(override)
    if not known.is_sweep_override():
        return override
    assert known.is_choice_sweep(), f"{override}: write the values as a list"
    return f"{known.get_key_element()}={next(known.sweep_string_iterator())}"


@pytest.mark.parametrize(("verb", "overrides"), list(SHOWN), ids=list(SHOWN.values()))
def test_a_command_of_the_pages_names_settings_that_exist(verb: str, overrides: tuple[str, ...]):
    cfg = hydra.compose(verb, [first_trial(override) for override in overrides])
    assert OmegaConf.is_dict(cfg)


def test_the_pages_show_every_verb():
    assert {verb for verb, _ in SHOWN} == set(VERBS)


def test_the_readme_is_read_in_one_sitting():
    assert len(README.read_text().splitlines()) <= 120


@pytest.mark.parametrize("path", WORDS, ids=name)
def test_a_relative_link_leads_somewhere(path: Path):
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    local = [target.split("#")[0] for target in targets if "://" not in target]
    absent = [target for target in local if target and not (path.parent / target).exists()]
    assert absent == []
