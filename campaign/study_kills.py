"""`kill -9` inside the trials of studies, one after the other and side by side."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from campaign import answers
from campaign.answers import Answer
from campaign.record import FAILED, OK, Case, Part
from campaign.warm import Command, Kill, run, side_by_side

CHAIN = 3  # kills before a study may end

_TRIAL = (
    "data=embeddings",
    "split=stratified",
    "stage.head.epochs=30",
    "stage.head.batch_size=8",
    "report.map=null",
    "runtime.save_every=0",
)
STUDIES = {
    "one after the other": ("study=seeds", "seed=0,1", "loss.lambda_nll=0.5,1", "head=linear"),
    "side by side": (
        "study=lambda_grid",
        "loss.lambda_nll=0.5,1",
        "loss.lambda_bce=0,1",
        "seed=0",
        "head=linear",
        "launcher=local",
        "n=2",
    ),
}


@dataclass(frozen=True)
class Life:
    """An uninterrupted study.

    Args:
        seconds: it took.
        progress: what its trials had written down at the end.
        answer: that it came to.
        files: that it left.
    """

    seconds: float
    progress: int
    answer: Answer
    files: frozenset[str]


@dataclass(frozen=True)
class Chain:
    """A study that is killed several times.

    Args:
        number: of the chain, which with the seed fixes what is drawn.
        kind: of `STUDIES`.
        kills: how often.
    """

    number: int
    kind: str
    kills: int


def attack(home: Path, *, kills: int, seed: int, jobs: int) -> Part:
    """Kill studies, half of them with trials side by side.

    Args:
        home: an empty folder.
        kills: how many.
        seed: of the draws.
        jobs: chains at a time.
    """
    whole = partial(_whole, home)
    lives = dict(zip(STUDIES, side_by_side(whole, STUDIES, 1), strict=True))
    chains: list[Chain] = []
    for kind, wanted in zip(STUDIES, (kills - kills // 2, kills // 2), strict=True):
        for done in range(0, wanted, CHAIN):
            chains.append(Chain(len(chains) + 1, kind, min(CHAIN, wanted - done)))
    cases: list[Case] = []
    for found in side_by_side(partial(_endure, home, lives, seed), chains, jobs):
        cases += found
    return Part(
        "study_kills",
        "trials.csv, every trial and the winner's figures are those of the uninterrupted study",
        sorted(cases, key=lambda case: [int(n) for n in case.case.split(".")]),
        {f"seconds of a study, {kind}": round(life.seconds, 2) for kind, life in lives.items()},
    )


def write_embeddings(path: Path, per_class: int = 24) -> None:
    """Write embeddings of four overlapping classes, as ``data=embeddings`` reads them."""
    rng = np.random.default_rng(0)
    names = ("Benign", "Early", "Pre", "Pro")
    centres = np.repeat(rng.normal(size=(4, 8)), per_class, axis=0)
    files = [f"{name}/{name}-{number:03d}.jpg" for name in names for number in range(per_class)]
    values = (centres + rng.normal(size=centres.shape)).astype(np.float32)
    np.savez(path, embeddings=values, files=np.array(files))


def study(home: Path, settings: Sequence[str]) -> Command:
    """Return the command that begins the study in ``study`` of a folder, or goes on with it."""
    file = home / "toy.npz"
    if not file.is_file():
        home.mkdir(parents=True, exist_ok=True)
        write_embeddings(file)
    words = ("-m", *settings, *_TRIAL, f"data.file={file}", f"hydra.sweep.dir={home / 'study'}")
    return Command("train", words, home, home / "cache")


def _whole(home: Path, kind: str) -> Life:
    folder = home / kind.replace(" ", "_")
    command = study(folder, STUDIES[kind])
    ended = run(command)
    if ended.status:
        raise RuntimeError(f"The uninterrupted study fails:\n{ended.out}\n{ended.err}")
    files = frozenset(answers.files_in(folder))
    come = _progress(folder / "study")
    return Life(ended.seconds, come, answers.of_study(folder / "study"), files)


def _endure(home: Path, lives: dict[str, Life], seed: int, chain: Chain) -> list[Case]:
    rng = np.random.default_rng([seed, 1, chain.number])
    life, cases, runs = lives[chain.kind], list[Case](), 0
    while len(cases) < chain.kills:  # a study that ends before it dies is followed by another
        runs += 1
        folder = home / f"chain-{chain.number}-{runs}"
        command = study(folder, STUDIES[chain.kind])
        died, wrong = _kill(command, life, chain, len(cases), rng)
        wrong = wrong or _judge(command, life)
        if not wrong:
            shutil.rmtree(folder)
        happened = wrong or "went on; the same to the last bit"
        verdict = FAILED if wrong else OK
        cases += [
            Case(
                chain.kind, f"{chain.number}.{runs}.{place}", done, f"{state}; {happened}", verdict
            )
            for place, (done, state) in enumerate(died, 1)
        ]
        if wrong and not died:
            cases.append(Case(chain.kind, f"{chain.number}.{runs}.0", "no kill", wrong, FAILED))
    return cases


def _kill(
    command: Command, life: Life, chain: Chain, before: int, rng: np.random.Generator
) -> tuple[list[tuple[str, str]], str | None]:
    died: list[tuple[str, str]] = []
    folder = command.cwd / "study"
    while before + len(died) < chain.kills:
        stage = int(rng.integers(_progress(folder), life.progress + 1))
        seconds = float(rng.uniform(0, life.seconds / 40))
        # What trials side by side leave behind where the command alone dies must not matter.
        group = chain.kind == "one after the other" or bool(rng.integers(2))
        ended = run(command, Kill(seconds, partial(_reached, folder, stage), group=group))
        if not ended.killed:
            return died, ended.complaint() or (ended.line() if ended.status else None)
        who = "with its trials" if group else "alone"
        done = len(list(folder.glob("[0-9]*/DONE")))
        begun = len(list(folder.glob("[0-9]*/config.yaml")))
        won = ", the winner chosen" if (folder / "winner").exists() else ""
        died.append(
            (
                f"kill -9 of the command {who}, {seconds:.3f} s after {stage} epochs and ends",
                f"{begun} begun, {done} done{won}",
            )
        )
    return died, None


def _progress(study: Path) -> int:
    """Count what its trials have written down: epochs, and each end as five of them."""
    rows = sum(len(path.read_bytes().splitlines()) - 1 for path in study.glob("[0-9]*/history.csv"))
    return rows + 5 * len(list(study.glob("[0-9]*/DONE")))


def _reached(study: Path, stage: int) -> bool:
    return _progress(study) >= stage


def _judge(command: Command, life: Life) -> str | None:
    ended = run(command)
    if ended.status:
        return ended.complaint() or f"refused to go on: {ended.line()}"
    differ = answers.differences(life.answer, answers.of_study(command.cwd / "study"))
    left = sorted(answers.files_in(command.cwd) - life.files)
    return differ or (f"left behind: {', '.join(left[:6])}" if left else None)
