"""`kill -9` at random over a training's life, and over the lives of those that go on with it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from campaign import answers, scene
from campaign.answers import Answer
from campaign.record import FAILED, OK, Case, Part
from campaign.warm import Ended, Kill, run, side_by_side

CHAIN = 4  # kills before a run may end
AGAIN = 0.8  # seconds that a command needs to come back to where the last one died


@dataclass(frozen=True)
class Life:
    """An uninterrupted run.

    Args:
        seconds: it took, beside as many others as chains run at a time.
        changes: of the disk.
        answer: that it came to.
        files: that it left.
    """

    seconds: float
    changes: int
    answer: Answer
    files: frozenset[str]


@dataclass(frozen=True)
class Chain:
    """A run that is killed several times.

    Args:
        number: of the chain, which with the seed fixes what is drawn.
        kills: how often.
        by_change: kill before a change of the disk, else after some seconds.
    """

    number: int
    kills: int
    by_change: bool


def attack(home: Path, *, kills: int, writes: int, seed: int, jobs: int) -> Part:
    """Kill trainings.

    Args:
        home: an empty folder.
        kills: at moments drawn uniformly over a run's life.
        writes: more of them, just before a change of the disk, drawn uniformly among all.
        seed: of the draws.
        jobs: chains at a time.
    """
    firsts = list(side_by_side(_whole, [home / f"whole-{n}" for n in range(jobs)], jobs))
    life = Life(
        seconds=sum(ended.seconds for ended in firsts) / jobs,
        changes=len(firsts[0].changes),
        answer=answers.of_run(home / "whole-0" / "run"),
        files=frozenset(answers.files_in(home / "whole-0")),
    )
    cases = [plain_process(home / "plain", life.answer)]
    chains = _chains(kills, 0, by_change=False)
    chains += _chains(writes, len(chains), by_change=True)
    for found in side_by_side(partial(_endure, home, life, seed), chains, jobs):
        cases += found
    return Part(
        "kills",
        "ends bit-identical to the uninterrupted run, and leaves no temporary file",
        sorted(cases, key=lambda case: [int(n) for n in case.case.split(".") if n.isdigit()]),
        {
            "kills of a command that went on": sum("train again" in case.done for case in cases),
            "seconds of an uninterrupted run": round(life.seconds, 2),
            "changes of the disk in it": life.changes,
        },
    )


def _whole(home: Path) -> Ended:
    return scene.made(home)


def plain_process(home: Path, expected: Answer) -> Case:
    """Train in a process of the system's own, to show that a forked one computes the same."""
    home.mkdir(parents=True)
    command = scene.train(home)
    kept = {key: value for key, value in os.environ.items() if key != "LEUKEMIA_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "leukemia.train", *command.words],
        cwd=home,
        env={**kept, "LEUKEMIA_CACHE": str(command.cache)},
        capture_output=True,
        text=True,
    )
    differ = done.stderr[-300:] if done.returncode else None
    differ = differ or answers.differences(expected, answers.of_run(home / "run"))
    return Case(
        "plain process", "0", str(command), differ or "the same answer", FAILED if differ else OK
    )


def _chains(kills: int, first: int, *, by_change: bool) -> list[Chain]:
    lengths = [min(CHAIN, kills - done) for done in range(0, kills, CHAIN)]
    return [Chain(first + n + 1, length, by_change) for n, length in enumerate(lengths)]


def _endure(home: Path, life: Life, seed: int, chain: Chain) -> list[Case]:
    """Kill a run as often as the chain says, let it end, and compare."""
    rng = np.random.default_rng([seed, chain.number])
    cases: list[Case] = []
    runs = 0
    while len(cases) < chain.kills:  # a run that ends before it dies is followed by another
        runs += 1
        folder = home / f"chain-{chain.number}-{runs}"
        folder.mkdir()
        died, wrong = _kill(folder, life, chain, len(cases), rng)
        wrong = wrong or _judge(folder, life)
        if not wrong:
            shutil.rmtree(folder)
        happened = wrong or "went on; the same to the last bit"
        cases += [
            Case(
                kind,
                f"{chain.number}.{runs}.{place}",
                done,
                f"{state}; {happened}",
                FAILED if wrong else OK,
            )
            for place, (kind, done, state) in enumerate(died, 1)
        ]
        if wrong and not died:
            cases.append(Case("no kill", f"{chain.number}.{runs}", "none", wrong, FAILED))
    return cases


def _kill(
    folder: Path, life: Life, chain: Chain, before: int, rng: np.random.Generator
) -> tuple[list[tuple[str, str, str]], str | None]:
    """Kill a run until it ends; return the kills, and what went wrong."""
    died: list[tuple[str, str, str]] = []
    gone = 0.0  # share of the life
    while before + len(died) < chain.kills:
        command = scene.go_on(folder)
        if chain.by_change:
            kill = Kill(change=int(rng.integers(1, max(3, round(life.changes * (1 - gone))))))
        else:
            kill = Kill(seconds=float(rng.uniform(0, max(AGAIN, life.seconds * (1 - gone)))))
        ended = run(command, kill)
        if not ended.killed:
            return died, ended.complaint() or (ended.line() if ended.status else None)
        stands = scene.phase(folder)
        again = " again" if command.words[0].startswith("resume=") else ""
        last = ended.changes[-1] if ended.changes else "nothing"
        when = f"before {last}" if chain.by_change else f"at {kill.seconds:.3f} s"
        died.append((stands, f"kill -9 of train{again} {when}", f"stood at {stands}, last: {last}"))
        lived = max(0.0, ended.seconds - AGAIN * bool(again)) / life.seconds
        gone = min(1.0, gone + (len(ended.changes) / life.changes if chain.by_change else lived))
    return died, None


def _judge(folder: Path, life: Life) -> str | None:
    """Let a run end, and say what is wrong with it."""
    ended = run(scene.go_on(folder))
    if ended.status:
        return ended.complaint() or f"refused to go on: {ended.line()}"
    differ = answers.differences(life.answer, answers.of_run(folder / "run"))
    left = sorted(answers.files_in(folder) - life.files)
    return differ or (f"left behind: {', '.join(left[:6])}" if left else None)
