"""What the verbs share: Hydra's start, and a user's mistake in one line."""

import contextlib
import functools
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from leukemia import disk, interrupt
from leukemia.errors import UserError
from leukemia.settings import schema
from leukemia.settings.arguments import SWEEPS, paths_of, quoted
from leukemia.settings.options import CONF
from leukemia.settings.settled import choices_for
from leukemia.text import visible

__all__ = ["CONF"]  # the folder of settings, for who composes them without a command

# Launchers that are plugins of others: the choice that needs them, and what installs them.
EXTRAS = {
    "submitit_slurm": ("submitit", "slurm"),
    "submitit_local": ("submitit_local", "slurm"),
    "ray": ("ray", "ray"),
}


def _run_dir(resume: str | None, model: str) -> str:
    return resume or f"runs/{time.strftime('%Y-%m-%d_%H-%M-%S')}_{model}"


# Registered here, also for who composes settings without a command.
OmegaConf.register_new_resolver("leukemia.run_dir", _run_dir, use_cache=True, replace=True)


def run_verb(
    task: Callable[[DictConfig], None], config_name: str, *, each: str | None = None
) -> None:
    """Run a verb under Hydra; a user's mistake ends it with one line and status 2.

    Args:
        task: is given the settings.
        config_name: of the file of settings.
        each: what one call is for, where ``-m`` is refused.
    """
    if "--version" in sys.argv[1:]:
        from leukemia import __version__

        print(f"leukemia {__version__}")
        return
    sweep = any(map(SWEEPS.fullmatch, sys.argv[1:]))
    if each and sweep:  # Hydra would leave files of its own
        fail(f"leukemia.{config_name} takes no -m: call it once for each {each}.")
    # Hydra then raises what it would otherwise print in several lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    reporting = Reporting(task, config_name)
    try:
        sys.argv[1:] = [quoted(argument, config_name, sweep=sweep) for argument in sys.argv[1:]]
        with interrupt.caught(), disk.reported(None, functools.partial(_another_place, reporting)):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
                reporting
            )()
    except (HydraException, OmegaConfBaseException) as error:
        fail(one_line(error, config_name))
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        begun = any(argument.startswith("study=") for argument in sys.argv)
        fail(*interrupt.told("go on with the same command" if begun else ""))
    except Exception as error:
        if reporting.begun or not (line := _of_hydra(error, _another_place(reporting))):
            raise
        fail(line)


def composed(
    verb: str, overrides: Sequence[str], config_dir: str | os.PathLike[str] | None = None
) -> tuple[DictConfig, Path, list[str]]:
    """Return the settings of a verb in Python, looked at as those of its command are.

    Args:
        verb: its name.
        overrides: as on the command line, without ``-m``.
        config_dir: a folder of settings of the user's own.

    Returns:
        The settings, the directory of the run, and the overrides in Hydra's grammar.

    Raises:
        UserError: they cannot be.
    """
    if isinstance(overrides, str) or not all(isinstance(text, str) for text in overrides):
        raise UserError(
            f"Expected overrides to be a list of 'key=value', but got {overrides!r}: "
            f"write ['seed=1', 'trainer.max_epochs=3']."
        )
    words = [quoted(text, verb) for text in overrides]
    more = choices_for(words)
    if config_dir is not None:
        folder = Path(config_dir).expanduser().absolute()
        if not folder.is_dir():
            raise UserError(f"There is no folder of settings '{folder}': correct config_dir.")
        more.append(f"hydra.searchpath=['file://{folder}']")
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose(verb, [*more, *words], return_hydra_config=True)
        folder = Path(str(cfg.hydra.run.dir))
        chosen = cfg.hydra.runtime.choices
        with open_dict(cfg):
            cfg.pop("hydra")
        schema.check(cfg, verb, chosen)
        schema.unread(verb, words)
        _at_home(cfg, verb)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error, verb)) from error
    return cfg, folder.expanduser(), words


def _another_place(reporting: "Reporting") -> str:
    """Say what helps where Hydra could not make the directory of a job."""
    if reporting.begun or reporting.config_name != "train":
        return ""
    return "Name another hydra.run.dir= (with -m, hydra.sweep.dir=)."


def _of_hydra(error: Exception, remedy: str) -> str | None:
    """Say in a line what Hydra could not do; ``None`` for an error that is not Hydra's."""
    inside = [Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, OSError) and any("hydra" in parts for parts in inside):
        return f"'{error.filename}' cannot be used: {error.strerror}. {remedy}"
    if {"hydra", "omegaconf", "antlr4"} & set(inside[-1]):
        return f"Hydra cannot take this command: {' '.join(str(error).split())}"
    return None


class Reporting:
    """A verb that says a user's mistake in one line. A class, so that launchers can send it.

    Args:
        task: the verb.
        config_name: of the file of its settings.
    """

    def __init__(self, task: Callable[[DictConfig], None], config_name: str) -> None:
        """Store the verb."""
        functools.update_wrapper(self, task, updated=())
        self.task, self.config_name, self.begun = task, config_name, False

    def __call__(self, cfg: DictConfig) -> None:
        """Run the verb."""
        self.begun = True
        try:
            schema.check(cfg, self.config_name, HydraConfig.get().runtime.choices)
            schema.unread(self.config_name, overrides())
            _at_home(cfg, self.config_name)
            with disk.reported(Path(output_dir()), _going_on):
                self.task(cfg)
        except (UserError, OmegaConfBaseException) as error:
            drop_if_empty()
            if is_multirun():  # one that fails does not stop the others
                raise
            # Hydra writes lines of its own about any exception of a job, not about SystemExit.
            fail(str(error).splitlines()[0])
        except KeyboardInterrupt:
            fail(*interrupt.told("go on with the same command" if "study" in cfg else _going_on()))


def _at_home(cfg: DictConfig, verb: str) -> None:
    """Give ``~`` its meaning, which the shell leaves to us behind ``key=``."""
    for key in paths_of(verb):
        value = None if key.startswith("hydra.") else OmegaConf.select(cfg, key)
        # The cache is looked for at home wherever the run is used.
        if isinstance(value, str) and value.startswith("~") and key != "data.cache_dir":
            with contextlib.suppress(RuntimeError):  # no such user: a name like any
                OmegaConf.update(cfg, key, str(Path(value).expanduser()))


def _going_on() -> str:
    where = Path(output_dir())
    begun = (where / "config.yaml").is_file() and not (where / "DONE").exists()
    return f"go on with resume={where}" if begun else ""


def output_dir(cfg: DictConfig | None = None) -> str:
    """Return the directory that Hydra chose for this job.

    Args:
        cfg: its settings, which name one where there is no job: they were composed in a notebook.
    """
    if HydraConfig.initialized():
        return str(HydraConfig.get().runtime.output_dir)
    return "." if cfg is None else _run_dir(cfg.get("resume"), str(cfg.model.name))


def is_multirun() -> bool:
    """Whether this job is one of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def overrides() -> list[str]:
    """Return the overrides of this job, as typed."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def drop_if_empty() -> None:
    """Remove the output directory that Hydra made, where the job wrote nothing into it."""
    folder = Path(output_dir())
    # A verb that makes no run has the working directory as its own: never remove that.
    if folder.is_dir() and not folder.samefile(Path.cwd()) and not any(folder.iterdir()):
        folder.rmdir()


def fail(line: str, status: int = 2) -> None:
    """Print one line to stderr and leave."""
    print(visible(f"leukemia: {line}"), file=sys.stderr)
    sys.exit(status)


def one_line(error: Exception, config_name: str) -> str:
    """Return an error of Hydra's in one line, with settings and options that may be meant.

    Args:
        error: the error.
        config_name: of the file of settings.
    """
    text = " ".join(str(error).split())
    for launcher, (choice, extra) in EXTRAS.items():
        if f"'hydra/launcher/{launcher}'" in text:
            return f"launcher={choice} needs an extra: pip install 'leukemia[{extra}]'."
    if cause := error.__cause__:
        text += " " + " ".join(str(cause).split())
    inner = re.search(r"full_key: (\S+)", text)
    text = re.sub(r"\s*Set the environment variable.*", "", text)
    text = re.sub(r"\s*full_key: .*", "", text)
    text = re.sub(r"\s*Config search path:.*", "", text)
    text = re.sub(r" To append to your config use \S+", "", text)
    key = re.search(r"Could not override '([^']+)'", text)
    if key is None:
        return text if len(text) <= 600 else f"{text[:597]}..."
    # Of settings given together, `node={a: 1}`, the one that is none.
    name = inner[1] if inner and inner[1].startswith(f"{key[1]}.") else key[1]
    text = f"Could not override '{name}': there is no such setting here."
    if close := schema.nearest(name, schema.schema(config_name).names()):
        text += f" Did you mean {', '.join(close)}?"
    return text + " `--cfg job` prints all settings."
