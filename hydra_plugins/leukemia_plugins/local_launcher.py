"""``hydra/launcher=local``: trials side by side on one machine, each in a process of its own."""

import multiprocessing as mp
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from leukemia.errors import UserError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

# Imported once, in the process that all trials are forked from; none of them computes on import.
PRELOAD = ["leukemia.cli", "leukemia.study.trials", "leukemia.runs.pages", "torch._dynamo"]


@dataclass
class LocalLauncherConf:
    """Settings of ``hydra.launcher``."""

    _target_: str = "hydra_plugins.leukemia_plugins.local_launcher.LocalLauncher"
    n: int = 2


ConfigStore.instance().store(
    "local", LocalLauncherConf, group="hydra/launcher", provider="leukemia"
)


@dataclass
class _Running:
    place: int
    slot: int
    process: BaseProcess


class LocalLauncher(Launcher):
    """Runs ``n`` jobs at a time.

    Each job's process is forked from one that has imported torch and computed nothing, so that
    a start costs no import and shares no state. It gets its share of the cores as
    ``OMP_NUM_THREADS`` and, where there are GPUs, one of them as ``CUDA_VISIBLE_DEVICES``; it
    dies with this process.

    Args:
        n: jobs at a time.
    """

    def __init__(self, n: int) -> None:
        """Store the number."""
        self.n = n
        self.context: HydraContext
        self.config: DictConfig
        self.task: TaskFunction

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands over.

        Raises:
            UserError: no job at a time.
        """
        if self.n < 1:  # not in the constructor, whose errors Hydra wraps in its own
            raise UserError(f"Expected n (trials at a time) to be 1 or more, but got {self.n}.")
        self.context, self.task, self.config = hydra_context, task_function, config
        self.processes = _context()

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs; one that fails does not stop the others, unless ``study.fail_fast``.

        Returns:
            What the jobs returned, in order; of unknown status are those that did not end.
        """
        context = self.processes
        fail_fast = bool(OmegaConf.select(self.config, "study.fail_fast", default=False))
        waiting = deque(enumerate(job_overrides))
        free, gpus = list(range(self.n)), _gpus()
        running: dict[Connection, _Running] = {}
        ended: dict[int, JobReturn] = {}
        try:
            while waiting or running:
                while waiting and free:
                    place, overrides = waiting.popleft()
                    slot = free.pop(0)
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(
                        target=_run,
                        args=(
                            theirs,
                            self.context,
                            self.config,
                            self.task,
                            list(overrides),
                            initial_job_idx + place,
                            _environment(slot, self.n, gpus),
                        ),
                    )
                    process.start()
                    theirs.close()
                    running[ours] = _Running(place, slot, process)
                ready = wait(list(running))
                for connection in [one for one in running if one in ready]:
                    job = running.pop(connection)
                    result = _receive(connection, job.process)
                    ended[job.place] = result
                    free.append(job.slot)
                    if fail_fast and result.status == JobStatus.FAILED:
                        waiting.clear()
                        _stop(running)
                        break
        finally:
            _stop(running)
        return [ended.get(place, JobReturn()) for place in range(len(job_overrides))]


def _context() -> "ForkServerContext | SpawnContext":
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    from multiprocessing import forkserver  # absent on Windows

    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()  # it imports while this process checks the trials
    return context


def _gpus() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(i) for i in range(torch.cuda.device_count())]


def _environment(slot: int, n: int, gpus: list[str]) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    values = {"OMP_NUM_THREADS": str(max(1, (cores or 1) // n))}
    if gpus:
        values["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return values


def _run(
    connection: Connection,
    hydra_context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    overrides: list[str],
    number: int,
    environment: dict[str, str],
) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it, and says so once
    os.environ.update(environment)
    setup_globals()
    Plugins.instance()  # so that composing finds the settings of launchers and sweepers
    JobRuntime.instance().set("name", config.hydra.job.name)
    try:
        cfg = hydra_context.config_loader.load_sweep_config(config, overrides)
        with open_dict(cfg.hydra.job):
            cfg.hydra.job.id = cfg.hydra.job.num = number
        result = run_job(
            hydra_context=hydra_context,
            task_function=task,
            config=cfg,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        connection.send(_sendable(result))
    except SystemExit as stop:  # a mistake that was told already
        connection.send(stop.code)


def _sendable(result: JobReturn) -> JobReturn:
    # The configs stay here: they hold classes that Hydra imports anew in every process. Of an
    # exception its text goes, since not every one survives the way.
    sent = JobReturn(overrides=result.overrides, status=result.status)
    if result.status == JobStatus.COMPLETED:
        sent.return_value = result.return_value
        return sent
    error = result._return_value
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    sent.return_value = UserError(text)
    return sent


def _die_with_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _receive(connection: Connection, process: BaseProcess) -> JobReturn:
    try:
        answer = connection.recv()
    except EOFError:
        process.join()
        answer = JobReturn()
        answer.status = JobStatus.FAILED
        answer.return_value = RuntimeError(
            f"the trial's process ended without a word (exit code {process.exitcode}); "
            f"-9 is what the system's shortage of memory leaves"
        )
    process.join()
    if not isinstance(answer, JobReturn):
        sys.exit(answer)
    return answer


def _stop(running: dict[Connection, _Running]) -> None:
    for job in running.values():
        job.process.kill()
    for job in running.values():
        job.process.join()
    running.clear()
