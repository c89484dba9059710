"""Commands in processes that start in a moment, and die when they are told to.

A command's process is forked from one that has imported the package and computed nothing, as
`launcher=local` does it: it starts in a tenth of a second instead of six, and is otherwise a
process of its own, with its own session, that SIGKILL ends like any other. What happens before
`main` (the interpreter's start, imports) writes nothing and is not killed. Needs Linux.
"""

import contextlib
import importlib
import itertools
import multiprocessing as mp
import os
import pkgutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from leukemia.__main__ import module_of

FORK = mp.get_context("fork")
HANGS = 240.0
"""Seconds after which a command is taken to hang: the longest here takes a twentieth."""

_EXTRAS = ("wandb", "tensorboard", "dashboard")
_LATE = ("torch._dynamo", "sklearn.manifold", "matplotlib.backends.backend_agg", "tests.commands")
_CHANGES = {
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.remove": 1,
    "os.mkdir": 1,
    "os.rmdir": 1,
    "os.truncate": 1,
}

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Command:
    """A verb with its words.

    Args:
        verb: module of the package.
        words: the arguments.
        cwd: where it runs; changes of the disk below it are counted.
        cache: what LEUKEMIA_CACHE names.
    """

    verb: str
    words: tuple[str, ...]
    cwd: Path
    cache: Path

    def __str__(self) -> str:
        """As typed, but for the folder."""
        typed = " ".join(["python -m", f"leukemia.{self.verb}", *self.words])
        return typed.replace(f"{self.cwd}/", "")


@dataclass(frozen=True)
class Kill:
    """When a command is to die.

    Args:
        seconds: of its life, or after `ready`.
        ready: waited for, if given: asked a hundred times a second.
        change: instead of seconds, just before it changes the disk for the so-manieth time, from
            1 on.
        group: the processes that it started die with it.
    """

    seconds: float = HANGS
    ready: Callable[[], bool] | None = None
    change: int | None = None
    group: bool = True


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        status: its exit status; minus the signal's number where one ended it.
        out: what it printed.
        err: what it printed to stderr.
        seconds: of its life.
        changes: of the disk, in order; the last one of a process that was killed may be lost.
        opened: files below its folder that it opened to read.
    """

    status: int
    out: str
    err: str
    seconds: float
    changes: tuple[str, ...]
    opened: tuple[str, ...]

    @property
    def killed(self) -> bool:
        """Whether a signal ended it."""
        return self.status == -signal.SIGKILL

    def complaint(self) -> str | None:
        """Say what is wrong with the way it ended, where neither 0 nor one clear line."""
        lines = [line for line in self.err.splitlines() if line.startswith("leukemia: ")]
        if self.killed:
            return f"hung for {HANGS:g} s" if self.seconds >= HANGS else "killed by the system"
        if "Traceback (most recent call last)" in self.out + self.err:
            return f"traceback: {self.err.strip().splitlines()[-1][:200]}"
        if self.status < 0:
            return f"crashed: {signal.Signals(-self.status).name}"
        if self.status not in (0, 1, 2):
            return f"status {self.status}: {self.err.strip()[-200:]}"
        if self.status and len(lines) != 1:
            return f"status {self.status} with {len(lines)} lines that say why: {self.err[-200:]!r}"
        return None

    def line(self) -> str:
        """What it said of the mistake."""
        found = [line for line in self.err.splitlines() if line.startswith("leukemia: ")]
        return found[-1] if found else ""


def warm() -> None:
    """Import what the commands import; no thread may start, since forks would miss it."""
    import leukemia

    names = [found.name for found in pkgutil.walk_packages(leukemia.__path__, "leukemia.")]
    for name in [name for name in names if name.rpartition(".")[2] not in _EXTRAS] + [*_LATE]:
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()


def run(command: Command, kill: Kill | None = None) -> Ended:
    """Run a command to its end, or until it is killed.

    Args:
        command: the verb and its words.
        kill: when to kill it, if it still lives then.
    """
    with ExitStack() as stack:
        out, err, changed, opened = (
            stack.enter_context(tempfile.TemporaryFile(buffering=0)) for _ in range(4)
        )
        watch = _Watch(command.cwd, changed.fileno(), opened.fileno(), kill)
        began = time.monotonic()
        process = FORK.Process(target=_become, args=(command, watch, out.fileno(), err.fileno()))
        process.start()
        try:
            if kill is not None and kill.ready is not None:
                while process.is_alive() and not kill.ready() and time.monotonic() < began + HANGS:
                    time.sleep(0.01)
            process.join(HANGS if kill is None else kill.seconds)
        finally:
            if process.exitcode is None:
                _end(process.pid or 0, group=kill is None or kill.group)
            process.join()
        return Ended(
            status=process.exitcode or 0,
            out=_text(out),
            err=_text(err),
            seconds=time.monotonic() - began,
            changes=tuple(_text(changed).splitlines()),
            opened=tuple(dict.fromkeys(_text(opened).splitlines())),
        )


def side_by_side(
    work: Callable[[Task], Result], tasks: Iterable[Task], jobs: int
) -> Iterator[Result]:
    """Yield what `work` makes of the tasks, as they end, so many at a time.

    Each worker is a process of one thread, so that it may fork commands in its turn.

    Args:
        work: a function of a module.
        tasks: what it is given, one after the other.
        jobs: workers; 1 for none, the work is then done here.
    """
    if jobs == 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=FORK) as pool:
        for done in as_completed([pool.submit(work, task) for task in tasks]):
            yield done.result()


class _Watch:
    """Writes down how a process changes the disk below a folder, and kills it before a change."""

    def __init__(self, folder: Path, changed: int, opened: int, kill: Kill | None) -> None:
        self.folder, self.changed, self.opened, self.kill = f"{folder}/", changed, opened, kill
        self.count = itertools.count(1)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" and event not in _CHANGES:
            return
        paths = [_path(value) for value in args[: _CHANGES.get(event, 1)]]
        names = [path.removeprefix(self.folder) for path in paths if path.startswith(self.folder)]
        if not names or names[-1].endswith(".lock"):
            return
        if event == "os.mkdir" and Path(paths[0]).is_dir():  # it fails, as its caller knows
            return
        if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(self.opened, f"{names[0]}\n".encode())
            return
        os.write(self.changed, f"{event} {' -> '.join(names)}\n".encode())
        if self.kill is not None and self.kill.change == next(self.count):
            _end(os.getpid(), group=self.kill.group)
            threading.Event().wait()  # the signal is on its way


def _path(value: object) -> str:
    if not isinstance(value, str | bytes | os.PathLike):
        return ""
    return os.path.abspath(os.fsdecode(value))  # noqa: PTH100 - no links


def _become(command: Command, watch: _Watch, out: int, err: int) -> None:
    """Be the command, in a process that was just forked."""
    os.setsid()
    for number, descriptor in ((1, out), (2, err)):
        os.dup2(descriptor, number)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    os.chdir(command.cwd)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    os.environ.clear()
    os.environ.update(kept, LEUKEMIA_CACHE=str(command.cache), COLUMNS="100")
    os.environ.pop("LEUKEMIA_DATA", None)
    sys.argv = [f"leukemia.{command.verb}", *command.words]
    verb = importlib.import_module(module_of(command.verb))
    sys.modules["__main__"] = verb  # what its own processes import: not the campaign
    sys.addaudithook(watch)
    verb.main()


def _end(process: int, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(process, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)  # alone, where it has no group yet


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
