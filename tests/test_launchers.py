"""Launchers and their extras, from outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from leukemia.cli import CONF
from tests.commands import run
from tests.studies import SMALL

PLAIN = ["-m", "launcher=local", "n=2", "seed=0,1", *SMALL, "trainer.max_epochs=1"]


@pytest.mark.slow
def test_plain_multirun_in_processes_of_their_own(home: Path):
    file = f"data.file={home / 'toy.npz'}"
    done = run("train", *PLAIN, file, "hydra.sweep.dir=runs/plain", cache=home, cwd=home)
    assert done.returncode == 0, done.stderr
    for trial in "01":
        folder = home / "runs" / "plain" / trial
        assert (folder / "DONE").exists()
        assert (folder / "report.html").exists()


@pytest.mark.slow
def test_a_mistake_in_processes_of_their_own_is_the_same_line_from_each(home: Path):
    words = [f"data.file={home / 'toy.npz'}", "stage.head.batch_size=1"]
    wrong = run("train", *PLAIN, *words, "hydra.sweep.dir=runs/wrong", cache=home, cwd=home)
    assert wrong.returncode == 2
    lines = [line for line in wrong.stderr.splitlines() if line]
    assert set(lines) == {lines[0]}
    assert "stage.head.batch_size" in lines[0]


@pytest.mark.parametrize(
    ("launcher", "module", "extra"),
    [
        ("submitit", "hydra_submitit_launcher", "slurm"),
        ("submitit_local", "hydra_submitit_launcher", "slurm"),
        ("ray", "hydra_ray_launcher", "ray"),
    ],
)
def test_a_missing_extra_is_one_line(launcher: str, module: str, extra: str, tmp_path: Path):
    code = (
        f"import sys; sys.modules['hydra_plugins.{module}'] = None\n"
        f"sys.argv[1:] = ['-m', 'seed=0,1', 'launcher={launcher}']\n"
        "from leukemia import train; train.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"leukemia: launcher={launcher} needs an extra: pip install 'leukemia[{extra}]'.\n"
    )


def options(group: str) -> list[str]:
    return [path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "none"]


@pytest.mark.parametrize("study", options("study"))
@pytest.mark.parametrize("launcher", options("launcher"))
def test_studies_compose_with_launchers(study: str, launcher: str):
    if launcher != "local":
        plugin = "hydra_ray_launcher" if launcher == "ray" else "hydra_submitit_launcher"
        pytest.importorskip(f"hydra_plugins.{plugin}", reason="the extra is not installed")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"study={study}", f"launcher={launcher}"], return_hydra_config=True)
    assert cfg.hydra.sweep.dir == f"runs/{study}"
    sweeper = "SearchSweeper" if study == "search" else "StudySweeper"
    assert cfg.hydra.sweeper._target_.endswith(sweeper)
    assert "seed" in cfg.hydra.sweeper.params
    target = {
        "local": "local_launcher.LocalLauncher",
        "submitit": "submitit_launcher.SlurmLauncher",
        "submitit_local": "submitit_launcher.LocalLauncher",
        "ray": "ray_launcher.RayLauncher",
    }[launcher]
    assert cfg.hydra.launcher._target_.endswith(target)
    if launcher != "ray":
        plain = OmegaConf.to_container(cfg.hydra.launcher, resolve=False)
        assert plain["n" if launcher == "local" else "timeout_min"] == (
            "${n}" if launcher == "local" else 240
        )
