"""What the verbs share: Hydra's start, and a user's mistake in one line."""

import difflib
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from leukemia import disk, interrupt
from leukemia.errors import UserError

# Beside the package in a checkout, inside it in a wheel.
_HERE = Path(__file__).resolve().parent
CONF = next(path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir())

# Launchers that are plugins of others: the choice that needs them, and what installs them.
EXTRAS = {
    "submitit_slurm": ("submitit", "slurm"),
    "submitit_local": ("submitit_local", "slurm"),
    "ray": ("ray", "ray"),
}


def _run_dir(resume: str | None, model: str) -> str:
    return resume or f"runs/{time.strftime('%Y-%m-%d_%H-%M-%S')}_{model}"


def _for_resnet(name: object, value: object) -> object:
    if "resne" not in str(name):
        return None
    return OmegaConf.create(value) if isinstance(value, list) else value


# What suits the layers of a ResNet alone; also for who composes settings without a command.
OmegaConf.register_new_resolver("leukemia.for_resnet", _for_resnet, replace=True)


def run_verb(
    task: Callable[[DictConfig], None],
    config_name: str,
    paths: Collection[str] = (),
    *,
    each: str | None = None,
) -> None:
    """Run a verb under Hydra; a user's mistake ends it with one line and status 2.

    Args:
        task: is given the settings.
        config_name: of the file of settings.
        paths: settings that are paths, which may hold what Hydra's grammar does not allow.
        each: what one call is for, where ``-m`` is refused.
    """
    if each and {"-m", "--multirun"} & set(sys.argv[1:]):  # Hydra would leave files of its own
        fail(f"leukemia.{config_name} takes no -m: call it once for each {each}.")
    sys.argv[1:] = [quoted(argument, paths) for argument in sys.argv[1:]]
    # Hydra then raises what it would otherwise print in several lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    OmegaConf.register_new_resolver("leukemia.run_dir", _run_dir, use_cache=True, replace=True)
    try:
        with interrupt.caught(), disk.reported():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
                Reporting(task)
            )()
    except (HydraException, OmegaConfBaseException) as error:
        fail(_one_line(error, config_name))
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        begun = any(argument.startswith("study=") for argument in sys.argv)
        fail(*interrupt.told("go on with the same command" if begun else ""))


def quoted(argument: str, paths: Collection[str]) -> str:
    """Return a command line's argument with the value quoted for Hydra, if it is a path.

    Blanks, brackets, commas and letters beyond ASCII are so part of the name. A list in brackets
    stays one; its entries are quoted, unless quotes are among them already.
    """
    key, _, value = argument.partition("=")
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if key not in paths or not value or is_quoted:
        return argument
    if value[0] == "[" and value[-1] == "]" and not Path(value).exists():
        if "'" in value or '"' in value:
            return argument
        entries = [entry.strip() for entry in value[1:-1].split(",") if entry.strip()]
        return f"{key}=[{','.join(map(_quote, entries))}]"
    return f"{key}={_quote(value)}"


def _quote(text: str) -> str:
    # Only backslashes before a quote, which the last ones are too, mean something to Hydra.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), text)
    return f"'{escaped}'"


class Reporting:
    """A verb that says a user's mistake in one line. A class, so that launchers can send it.

    Args:
        task: the verb.
    """

    def __init__(self, task: Callable[[DictConfig], None]) -> None:
        """Store the verb."""
        functools.update_wrapper(self, task, updated=())
        self.task = task

    def __call__(self, cfg: DictConfig) -> None:
        """Run the verb."""
        try:
            with disk.reported(Path(output_dir()), _going_on):
                self.task(cfg)
        except (UserError, OmegaConfBaseException) as error:
            drop_if_empty()
            if "study" in cfg:  # a trial that fails does not stop the others
                raise
            # Hydra writes lines of its own about any exception of a job, not about SystemExit.
            fail(str(error).splitlines()[0])
        except KeyboardInterrupt:
            fail(*interrupt.told("go on with the same command" if "study" in cfg else _going_on()))


def _going_on() -> str:
    where = Path(output_dir())
    begun = (where / "config.yaml").is_file() and not (where / "DONE").exists()
    return f"go on with resume={where}" if begun else ""


def output_dir() -> str:
    """Return the directory that Hydra chose for this job."""
    return str(HydraConfig.get().runtime.output_dir)


def is_multirun() -> bool:
    """Whether this job is one of several."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def overrides() -> list[str]:
    """Return the overrides of this job, as typed."""
    return list(HydraConfig.get().overrides.task)


def drop_if_empty() -> None:
    """Remove the output directory that Hydra made, where the job wrote nothing into it."""
    folder = Path(output_dir())
    # A verb that makes no run has the working directory as its own: never remove that.
    if folder.is_dir() and not folder.samefile(Path.cwd()) and not any(folder.iterdir()):
        folder.rmdir()


def fail(line: str, status: int = 2) -> None:
    """Print one line to stderr and leave."""
    print(f"leukemia: {line}", file=sys.stderr)
    sys.exit(status)


def _one_line(error: Exception, config_name: str) -> str:
    text = " ".join(str(error).split())
    for launcher, (choice, extra) in EXTRAS.items():
        if f"'hydra/launcher/{launcher}'" in text:
            return f"launcher={choice} needs an extra: pip install 'leukemia[{extra}]'."
    if cause := error.__cause__:
        text += " " + " ".join(str(cause).split())
    text = re.sub(r"\s*Set the environment variable.*", "", text)
    text = re.sub(r"\s*full_key: .*", "", text)
    text = re.sub(r"\s*Config search path:.*", "", text)
    text = re.sub(r" To append to your config use \S+", "", text)
    key = re.search(r"Could not override '([^']+)'", text)
    if key is None:
        return text
    known = [name for name in _keys(config_name) if name != key.group(1)]
    tail = key.group(1).split(".")[-1]
    close = [name for name in known if name.split(".")[-1] == tail] or difflib.get_close_matches(
        key.group(1), known, n=3
    )
    text = f"Could not override '{key.group(1)}': there is no such setting here."
    if close:
        text += f" Did you mean {', '.join(close[:3])}?"
    return text + " `--cfg job` prints all settings."


def _keys(config_name: str) -> list[str]:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_container(hydra.compose(config_name), resolve=False)

    def walk(node: object, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return [prefix]
        return [
            key
            for name, value in node.items()
            for key in walk(value, f"{prefix}.{name}".strip("."))
        ]

    return walk(cfg, "")
