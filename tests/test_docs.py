"""What the words say of commands, files and the code is true."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from leukemia import cli
from leukemia.settings import options, schema
from tests.commands import rows

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
ANSWERS = sorted((ROOT / "experiments").rglob("README.md"))
WORDS = [*PAGES, *sorted((ROOT / "experiments").rglob("*.md")), *(ROOT / "benchmarks").glob("*.md")]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(path: Path) -> Iterator[str]:
    """Yield each command line of a verb that a page shows, in a block or within a sentence."""
    for line in path.read_text().splitlines():
        for text in re.findall(r"`([^`]+)`", line) or [line]:
            if found := re.search(r"\bpython -m leukemia\.\w+\b.*", text):
                yield found.group()


def parsed(command: str) -> tuple[str, tuple[str, ...]]:
    """Return the verb and its overrides, with placeholders such as `<run>` as plain names."""
    words = shlex.split(re.sub(r"[<>]", "", command).replace("=...", "=x"), comments=True)
    verb, sweep = words[2].removeprefix("leukemia."), "-m" in words
    overrides = [cli.quoted(word, verb, sweep=sweep) for word in words[3:] if word[0] != "-"]
    return verb, tuple(overrides)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.M | re.S)


def titled(path: Path) -> dict[str, str]:
    """Return what a page says that files hold; of several blocks for a file, all together."""
    found: dict[str, str] = {}
    pattern = r'^```\w+ title="([^"]+)"\n(.*?)^```$'
    for title, text in re.findall(pattern, path.read_text(), re.M | re.S):
        found[title] = found.get(title, "") + text
    return found


def shown(paths: Iterable[Path]) -> dict[tuple[str, tuple[str, ...]], str]:
    return {parsed(text): f"{name(path)}: {text}" for path in paths for text in commands(path)}


SHOWN = shown(PAGES)
RECORDED = {key: text for key, text in shown(ANSWERS).items() if key not in SHOWN}


def write_titled(home: Path) -> None:
    for file, text in titled(ROOT / "docs" / "extending.md").items():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text)


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of settings that docs/extending.md tells how to make."""
    home = tmp_path_factory.mktemp("own")
    write_titled(home)
    folder = home / "my_conf"
    for group in ("model", "loss"):  # the names that README.md gives to what is the reader's
        (folder / group / "mine.yaml").write_text(f"_target_: my_classes.{group}\n")
    with hydra.initialize_config_dir(str(cli.CONF), version_base="1.3"):
        yield f"hydra.searchpath=[file://{folder}]"


def first_trial(override: str) -> str:
    """Return an override with one value, where it lists what a study shall try."""
    known = OverridesParser.create().parse_override(override)
    if known.is_choice_sweep():
        return f"{known.get_key_element()}={next(known.sweep_string_iterator())}"
    if known.is_interval_sweep():
        return f"{known.get_key_element()}={known.value().start}"
    return override


@pytest.mark.parametrize(
    ("verb", "overrides"),
    [
        *(pytest.param(*key, id=text) for key, text in SHOWN.items()),
        *(pytest.param(*key, id=text, marks=pytest.mark.slow) for key, text in RECORDED.items()),
    ],
)
def test_a_command_of_the_pages_can_be_given(
    verb: str, overrides: tuple[str, ...], own_folder: str
):
    cfg = hydra.compose(verb, [own_folder, *map(first_trial, overrides)])
    schema.check(cfg, verb)
    schema.unread(verb, overrides)


def test_the_pages_show_every_verb():
    assert {verb for verb, _ in SHOWN} == set(options.VERBS)


def test_the_readme_is_read_in_one_sitting():
    assert len(README.read_text().splitlines()) <= 120


@pytest.mark.parametrize("path", WORDS, ids=name)
def test_a_relative_link_leads_somewhere(path: Path):
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    local = [target.split("#")[0] for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_every_question_has_its_answer_before_its_log():
    folders = sorted(log.parent for log in (ROOT / "experiments").rglob("LOG.md"))
    index = (ROOT / "experiments" / "README.md").read_text()
    for folder in folders:
        lines = (folder / "README.md").read_text().splitlines()
        table = next(number for number, line in enumerate(lines) if line.startswith("| ---"))
        assert lines[2].startswith("**"), f"{folder}: the answer comes first"
        assert table < 12, f"{folder}: the table is on the first screen"
        assert f"({folder.name}/README.md)" in index


RECORDS = {
    "`model=baseline`": ("baseline, centred input", "kfold_baseline_train"),
    "`experiment=finetuned`": ("resnet18", "kfold_resnet18"),
    "ours, `experiment=frozen`": ("default", "kfold_default"),
}


@pytest.mark.parametrize("row", RECORDS)
def test_the_figures_of_the_readme_are_those_of_the_records(row: str):
    run, study = RECORDS[row]
    records = ROOT / "experiments"
    seeds = [
        line
        for line in rows(records / "paper_system" / "results.csv")
        if (line["run"], line["part"]) == (run, "test")
    ]
    keys = ("accuracy", "cancer_sensitivity", "cancer_specificity")
    means = [sum(float(line[key]) for line in seeds) / len(seeds) for key in keys]
    pooled = json.loads((records / "trust" / study / "metrics.json").read_text())["pooled"]
    folds = [pooled["accuracy"], *pooled["interval"]["accuracy"], pooled["cancer_recall"]]
    (line,) = [line for line in README.read_text().splitlines() if f"{row} |" in line]
    printed = [float(number) for number in re.findall(r"\d\.\d{3}", line)]
    assert printed == pytest.approx([*means, *folds], abs=0.0005001)


def test_the_script_by_hand_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (script,) = blocks(ROOT / "docs" / "extending.md", "python")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(compile(script, "docs/extending.md", "exec"), found)
    assert tuple(found["probabilities"].shape) == (8, 4)


OWN_CLASSES = {
    "network, head, loss, callback and logger": [
        *("data=synthetic", "data.per_class=10", "model=timm", "head=two_layers", "loss=focal"),
        *("stages=[head,finetune]", "+callbacks.clock={_target_: my_classes.Clock, every: 2}"),
        "+logger.lines={_target_: my_classes.Lines}",
    ],
    "LightningModule and loss": [
        *("data=synthetic", "data.per_class=10", "model=small", "loss=focal"),
    ],
    "data module and LightningModule": ["data=squares", "model=small"],
}


@pytest.mark.slow
@pytest.mark.parametrize("own", OWN_CLASSES)
def test_the_classes_of_the_page_train_score_and_predict(own: str, tmp_path: Path):
    write_titled(tmp_path)
    quick = ["crop.size=64", "report.map=null", "runtime.progress=false", "runtime.threads=1"]
    quick += ["trainer.max_epochs=2", "data.cache_dir=cache", "hydra.run.dir=run"]

    def call(verb: str, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"leukemia.{verb}", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = call("train", "--config-dir=my_conf", *quick, *OWN_CLASSES[own])
    assert (tmp_path / "run" / "DONE").is_file()
    if "callback" in own:
        assert said.count("epoch 0 ") == 2  # a stage each
        assert "val_nll" in (tmp_path / "run" / "lines.txt").read_text()
    call("evaluate", "run=run", "trust=true", "evaluate.explain=false")
    assert (tmp_path / "run" / "evaluation" / "test" / "report.html").is_file()
    image = min((tmp_path / "cache").glob("*/*/*.*"))
    assert "Model output" in call("predict", "run=run", "trust=true", f"input={image}")


@pytest.mark.slow
def test_make_docs_builds_a_site_that_calls_no_other_host(tmp_path: Path):
    if find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install 'leukemia[docs]'")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    loaded = re.compile(
        r"<(?:script|img|iframe|source)[^>]* src=[\"']?(?:https?:)?//"
        r"|<link[^>]* href=[\"']?(?:https?:)?//"
        r"|(?:url\(|@import )[\"']?(?:https?:)?//"
    )
    pages = [path for path in tmp_path.rglob("*") if path.suffix in (".html", ".css")]
    assert [path for path in pages if loaded.search(path.read_text())] == []
    assert (tmp_path / "site" / "reference.html").is_file()
