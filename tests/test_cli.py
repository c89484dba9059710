"""What the commands share: arguments as typed, and one call for one thing."""

import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from leukemia import __main__, __version__
from leukemia.cli import CONF
from leukemia.errors import UserError
from leukemia.settings import options, schema
from leukemia.settings.arguments import quoted
from leukemia.settings.settled import settle
from tests.commands import run, run_here
from tests.fuzz import attempt, composed

VERBS = options.VERBS
TOY = [
    *("data=embeddings", "split=stratified", "stage.head.epochs=2", "report.map=null"),
    *("runtime.progress=false", "runtime.save_every=0"),
]
STRANGE = "größe 細胞, ALL data (1) [x]{y} epoch=3 #2 it's"

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
    for argument in ("input='a b'", "input=", "runtime.tta=true", "-m", "seed=0,1"):
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


PATHS = [(verb, key) for verb in VERBS for key in schema.paths(verb)]


@pytest.mark.parametrize(("verb", "key"), PATHS)
def test_every_setting_that_is_a_path_may_hold_anything(verb: str, key: str):
    for name in (STRANGE, "[Original]", "a,b"):
        override = OverridesParser.create().parse_override(quoted(f"{key}={name}", verb))
        listed = name.startswith("[") and key in ("input", "runs")
        assert override.value() == ([name[1:-1]] if listed else name)


def test_the_settings_that_are_paths_are_the_ones_that_say_so():
    named = {"resume", "data.root", "data.file", "data.groups", "data.floors", "data.cache_dir"}
    named |= {"split.file", "model.backbone.weights", "hydra.run.dir", "hydra.sweep.dir"}
    assert set(schema.paths("train")) == named
    assert {"run", "runs", "output", "data.root"} <= set(schema.paths("evaluate"))
    assert {"run", "input", "output"} <= set(schema.paths("predict"))
    assert {"run", "input", "output"} <= set(schema.paths("explain"))
    assert {"data.root", "data.groups", "data.cache_dir", "output"} <= set(schema.paths("audit"))
    assert "dir" in schema.paths("study")


def test_null_and_default_stay_what_they_mean():
    for verb, argument in (("train", "data.groups=null"), ("predict", "output=null")):
        assert quoted(argument, verb) == argument
    cfg, _ = composed("train", [], "model.backbone.weights=null")
    assert cfg.model.backbone.weights is None
    cfg, _ = composed("train", [], "data.floors={mean colour: 0.5}")
    assert cfg.data.floors["mean colour"] == 0.5


def test_a_strange_name_survives_settling_and_yaml(tmp_path: Path):
    for key in ("data.root", "data.groups", "data.cache_dir", "model.backbone.weights"):
        cfg, _ = composed("train", ["data=folder"], f"{key}={tmp_path / STRANGE}")
        settle(cfg, multirun=False)
        again = OmegaConf.create(OmegaConf.to_yaml(cfg, resolve=True))
        assert OmegaConf.select(again, key) == str(tmp_path / STRANGE)


def test_with_m_a_comma_separates_paths_that_are_not_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def swept(argument: str) -> list[str]:
        override = OverridesParser.create().parse_override(quoted(argument, "train", sweep=True))
        return list(override.sweep_string_iterator()) if override.is_sweep_override() else []

    assert swept("data.file=a (1).npz, b.npz,null") == ["'a (1).npz'", "b.npz", "null"]
    assert swept("data.file='a,b.npz','c.npz'") == ["'a,b.npz'", "'c.npz'"]
    assert swept("data.file=choice(a,b)") == ["a", "b"]
    assert swept("experiment=null,finetuned") == ["none", "finetuned"]
    (tmp_path / "a,b.npz").touch()
    assert swept("data.file=a,b.npz") == []


@pytest.mark.slow
def test_a_study_is_a_sweep_without_m_too(tmp_path: Path):
    done = run_here(
        "train",
        *("study=schedules", *TOY, f"data.file={tmp_path}/a.npz", "schedule=constant,cosine"),
        "stage.head.batch_size=1",
        cache=tmp_path,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "stage.head.batch_size" in done.stderr
    assert "schedule=constant" in done.stderr


@pytest.mark.parametrize("group", ["experiment", "study", "launcher", "stain", "mask", "augment"])
def test_null_chooses_nothing_of_a_group(group: str):
    _, chosen = composed("train", ["data=synthetic"], f"{group}=null")
    assert chosen[group] == "none"


def test_a_study_without_its_experiment(tmp_path: Path):
    cfg, _ = composed("train", ["study=schedules"], "experiment=null")
    assert list(cfg.stages) == ["head", "finetune"]


@pytest.mark.parametrize("group", options.chosen_by("train"))
@pytest.mark.parametrize("value", ["1", "{a: 1}", "[[]]", "''"])
def test_a_group_takes_options_alone(group: str, value: str):
    line = attempt("train", ["data=synthetic"], f"{group}={value}")
    assert line is not None
    assert group.partition("@")[0] in line
    assert "\n" not in line


def test_flags_with_a_value_are_settings_but_for_hydra_s_own():
    assert quoted("--seed=3", "train") == "seed=3"
    assert quoted("--stage.head.optimizer.lr=0.01", "train") == "stage.head.optimizer.lr=0.01"
    assert quoted("--data.root=a (1)", "train") == "data.root='a (1)'"
    for flag in ("--cfg=job", "--config-dir=mine", "--config-name=x", "--info=all", "--package=a"):
        assert quoted(flag, "train") == flag


@pytest.mark.parametrize("verb", VERBS)
def test_the_version_is_ours(verb: str, tmp_path: Path):
    done = run_here(verb, "--version", cache=tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"leukemia {__version__}\n")


def test_the_package_lists_its_verbs(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["leukemia"])
    __main__.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "leukemia." in line]
    assert [line.split()[2] for line in lines] == [f"leukemia.{verb}" for verb in VERBS]
    assert all(len(line.split()) > 5 for line in lines)
    monkeypatch.setattr(sys, "argv", ["leukemia", "trian"])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 2
    monkeypatch.setattr(sys, "argv", ["leukemia", "study", "--version"])
    __main__.main()
    assert __version__ in capsys.readouterr().out


def test_help_of_every_verb_needs_no_module_of_unix(tmp_path: Path):
    code = (
        "import sys, importlib\n"
        "for name in ('resource', 'fcntl', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
        "from leukemia.__main__ import module_of\n"
        f"for verb in {VERBS}:\n"
        "    sys.argv = [verb, '--help']\n"
        "    importlib.import_module(module_of(verb)).main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["/dev/null", "file/run", "x" * 300])
def test_an_output_directory_that_cannot_be_is_told(folder: str, tmp_path: Path):
    (tmp_path / "file").touch()
    done = run_here(
        "train", "data=synthetic", f"hydra.run.dir={folder}", cache=tmp_path, cwd=tmp_path
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "hydra.run.dir" in done.stderr


def test_a_device_by_number_needs_a_gpu(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = attempt("train", ["data=synthetic"], "trainer.devices=[0]")
    assert line is not None
    assert "trainer.devices=[0]" in line
    assert "trainer.devices=1" in line
    assert attempt("train", ["data=synthetic"], "trainer.devices=1") is None


def test_a_notebook_trains_what_it_composed(home: Path, tmp_path: Path, monkeypatch):
    from leukemia.train import train

    monkeypatch.chdir(tmp_path)
    typed = [*TOY, f"data.file={home / 'toy.npz'}"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", typed)
        whole = hydra.compose("train", typed, return_hydra_config=True)
    train(cfg)
    (made,) = (tmp_path / "runs").iterdir()
    assert (made / "DONE").is_file()
    assert made.name.endswith("_resnet18")
    monkeypatch.setattr("time.strftime", lambda *_: made.name.removesuffix("_resnet18"))
    with pytest.raises(UserError, match="holds a run already"):
        train(whole)


def test_no_job_of_a_multirun_starts_where_one_cannot_be(home: Path, tmp_path: Path):
    done = run_here(
        "train",
        *("-m", *TOY, f"data.file={home / 'toy.npz'}", "stage.head.batch_size=16,1,32,0"),
        cache=tmp_path,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "2 of 4 jobs" in done.stderr
    assert "(stage.head.batch_size=1)" in done.stderr
    assert "(stage.head.batch_size=0)" in done.stderr
    assert not (tmp_path / "multirun").exists()
    assert not (tmp_path / "runs").exists()


def test_a_job_that_fails_does_not_stop_the_others(home: Path, tmp_path: Path):
    done = run_here(
        "train",
        *("-m", *TOY, f"data.file={home / 'toy.npz'},nowhere.npz,{home / 'toy.npz'}"),
        "hydra.sweep.dir=größe (1)",
        cache=tmp_path,
        cwd=tmp_path,
    )
    folder = tmp_path / "größe (1)"
    assert done.returncode == 2
    assert [(folder / str(job) / "DONE").is_file() for job in range(3)] == [True, False, True]
    assert "1 of 3 jobs failed" in done.stderr
    assert "(1: data.file=nowhere.npz)" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_strange_names_go_through_every_verb(smears: Path, cache: Path, tmp_path: Path):
    from shutil import copytree

    from tests.commands import SMALL

    images, place = tmp_path / f"images {STRANGE}", tmp_path / f"run {STRANGE}"
    copytree(smears, images)
    typed = [*SMALL[2:], "data=folder", f"data.root={images}", f"hydra.run.dir={place}"]
    assert run("train", *typed, cache=cache, cwd=tmp_path).returncode == 0
    for verb, *arguments in (
        ("train", f"resume={place}"),
        ("evaluate", f"run={place}", f"output=out {STRANGE}", "evaluate.explain=false"),
        ("predict", f"run={place}", f"input={images / 'Pre'}", f"output=p {STRANGE}.csv"),
        ("explain", f"run={place}", f"input={min((images / 'Pre').iterdir())}"),
        ("audit", "data=folder", f"data.root={images}", f"output=audit {STRANGE}"),
    ):
        done = run(verb, *arguments, cache=cache, cwd=tmp_path)
        assert done.returncode == 0, (verb, arguments, done.stderr)
    done = run("study", f"dir=study {STRANGE}", cache=cache, cwd=tmp_path)
    assert f"study {STRANGE}" in done.stderr
