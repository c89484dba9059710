"""Damaged files of runs, under every verb that reads them.

A verb must either refuse with one line and status 2, or answer exactly as before: a changed
answer with status 0 is the failure that is looked for. A trial without ``DONE`` has not ended,
and a study's table says so. A verb's files are those that it is seen
to open; of the others each is tried deleted and with bits flipped, to show that they are not
needed.
"""

import csv
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from campaign import answers, scene, study_kills
from campaign.answers import Answer
from campaign.record import FAILED, OK, Case, Part
from campaign.warm import Command, Ended, Kill, run, side_by_side

Rng = np.random.Generator
Change = Callable[[Path, Rng], None]


def _bytes(change: Callable[[bytes, Rng], bytes]) -> Change:
    def on_file(path: Path, rng: Rng) -> None:
        path.write_bytes(change(path.read_bytes(), rng))

    return on_file


def _flipped(data: bytes, rng: Rng) -> bytes:
    out = np.frombuffer(data, np.uint8).copy()
    count = min(len(out), max(1, min(400, len(out) // 8)))
    places = rng.choice(len(out), count, replace=False)
    out[places] ^= rng.integers(1, 256, count, dtype=np.uint8)
    return out.tobytes()


def _one_bit(data: bytes, rng: Rng) -> bytes:
    out = bytearray(data)
    place = int(rng.integers(len(out) * 8))
    out[place // 8] ^= 1 << place % 8
    return bytes(out)


def _zeroed(data: bytes, rng: Rng) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


def _number_changed(data: bytes, rng: Rng) -> bytes:
    """Change one digit after a point of a text; of others a bit."""
    places = [found.start(1) for found in re.finditer(rb"\.\d*(\d)", data)]
    if not places or b"\0" in data:
        return _one_bit(data, rng)
    place = int(rng.choice(places))
    digit = (data[place] - 48 + int(rng.integers(1, 10))) % 10 + 48
    return data[:place] + bytes([digit]) + data[place + 1 :]


def _outside(path: Path, rng: Rng) -> None:
    """Move the file out of the run, and leave a link to it."""
    target = path.parents[len(path.parts) - 1 - path.parts.index("run")] / "outside" / path.name
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    path.symlink_to(target)


def _folder(path: Path, rng: Rng) -> None:
    path.unlink()
    path.mkdir()


def _other(path: Path, rng: Rng) -> None:
    """Write the same format with another content."""
    if path.suffix == ".ckpt":
        torch.save([5], path)
    elif path.suffix == ".npz":
        np.savez(path, table=np.array(["a", "b"]), rows=np.arange(3))
    elif path.suffix == ".npy":
        np.save(path, np.array(["a", "b"]))
    elif path.suffix == ".csv":
        path.write_text("a,b\n1,2\n")
    else:
        path.write_text("[]\n")


def _nan(path: Path, rng: Rng) -> None:
    """Put NaN in the place of a number."""
    if path.suffix == ".ckpt":
        content = torch.load(path, map_location="cpu", weights_only=True)
        values = [value for value in content["state_dict"].values() if value.is_floating_point()]
        values[int(rng.integers(len(values)))].view(-1)[0] = float("nan")
        torch.save(content, path)
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for value in arrays.values():
            if value.dtype.kind == "f":
                value.reshape(-1)[:1] = np.nan
        np.savez(path, **arrays)
    else:
        text = path.read_bytes()
        nan = {".json": b"NaN", ".yaml": b".nan"}.get(path.suffix, b"nan")
        found = list(re.finditer(rb"(?<![\w.])\d+\.\d+(?![\w.])", text))
        if not found:
            path.write_bytes(nan)
            return
        chosen = found[int(rng.integers(len(found)))]
        path.write_bytes(text[: chosen.start()] + nan + text[chosen.end() :])


DAMAGES: dict[str, Change] = {
    "deleted": lambda path, rng: path.unlink(),
    "flipped": _bytes(_flipped),
    "one bit": _bytes(_one_bit),
    "a number": _bytes(_number_changed),
    "empty": _bytes(lambda data, rng: b""),
    "truncated": _bytes(lambda data, rng: data[: int(rng.integers(1, max(2, len(data))))]),
    "zeroed": _bytes(_zeroed),
    "a list": _bytes(lambda data, rng: b"[]\n"),
    "5": _bytes(lambda data, rng: b"5\n"),
    "text": _bytes(lambda data, rng: b"no such file\n"),
    "binary": _bytes(lambda data, rng: rng.bytes(300)),
    "another": _other,
    "nan": _nan,
    "a folder": _folder,
    "a link": _outside,
}
NOT_READ = ("deleted", "flipped")  # of files that a verb does not open
MID_RUN = ("deleted", "flipped", "a number", "truncated", "zeroed", "another", "nan", "a link")
CACHED = ("deleted", "flipped", "one bit", "empty", "truncated", "zeroed", "another", "a folder")


@dataclass(frozen=True)
class Try:
    """One file, damaged in one way, under one verb.

    Args:
        verb: of `VERBS`, or of `STATES`.
        file: below the folder that is copied.
        damage: of `DAMAGES`.
        number: with the seed, fixes what is drawn.
    """

    verb: str
    file: str
    damage: str
    number: int


@dataclass(frozen=True)
class Sound:
    """Where the sound run and study lie, and what the verbs say of them.

    Args:
        home: with ``run``, ``cache`` and ``images``.
        study: with ``study`` and its embeddings.
        states: a folder for each of `STATES`, with a run that was cut off.
        changes: of the disk by an uninterrupted run.
        answers: by verb.
    """

    home: Path
    study: Path
    states: Path
    changes: tuple[str, ...]
    answers: dict[str, Answer]


def attack(home: Path, sound: Path, *, cases: int | None, seed: int, jobs: int) -> Part:
    """Damage every file of a finished run, a finished study, and of runs cut off, in every way.

    Args:
        home: an empty folder.
        sound: the folder of a finished run and its cache, see `campaign.scene`.
        cases: only so many, drawn at random; ``None`` for all.
        seed: of the draws.
        jobs: commands at a time.
    """
    rng = np.random.default_rng([seed, 4])
    known, tries, found = _plan(home, sound)
    if cases is not None and cases < len(tries):
        tries = [tries[place] for place in np.sort(rng.choice(len(tries), cases, replace=False))]
    found += side_by_side(partial(_attempt, home, known, seed), tries, jobs)
    counts: dict[str, int] = {}
    for case in found:
        said = case.happened.partition(":")[0]
        counts[said] = counts.get(said, 0) + 1
    return Part(
        "run_files",
        "refused with one line and status 2, or the same answer to the last bit",
        sorted(found, key=lambda case: int(case.case.partition(" ")[0])),
        {"what came of them": counts},
    )


def _plan(home: Path, sound: Path) -> tuple[Sound, list[Try], list[Case]]:
    """Ask every verb of the sound run and study, and see which files it opens.

    Returns:
        What is known, what is to be tried, and the verbs that fail without any damage.
    """
    _write_images(sound)
    study = home / "whole_study"
    begun = run(study_kills.study(study, study_kills.STUDIES["one after the other"]))
    if begun.status:
        raise RuntimeError(f"The undamaged study fails:\n{begun.out}\n{begun.err}")
    changes = scene.made(home / "whole_run").changes
    known = Sound(sound, study, home / "cut_off", changes, {})
    tries: list[tuple[str, str, str]] = []
    broken: list[Case] = []
    for verb in VERBS:
        folder = home / f"sound_{verb.replace(' ', '_')}"
        command = _ready(verb, known, folder)
        before = _files(folder)
        ended = run(command)
        if ended.status:
            said = ended.complaint() or ended.line()
            broken.append(Case(verb, f"-1 {verb}", "nothing was damaged", said, FAILED))
            continue
        known.answers[verb] = _answer(verb, folder)
        for file in before:
            damages = tuple(DAMAGES) if file in ended.opened else NOT_READ
            tries += [(verb, file, damage) for damage in damages]
    for state in STATES:
        known.answers[state] = answers.of_run(sound / "run")
        _cut_off(state, changes, known.states / state)
        part, ways = ("cache", CACHED) if state == "cache" else ("run", MID_RUN)
        files = [name for name in _files(known.states / state) if name.startswith(part)]
        tries += [(state, file, damage) for file in files for damage in ways]
    return known, [Try(*one, number) for number, one in enumerate(tries)], broken


def _write_images(sound: Path) -> None:
    folder = sound / "images"
    if not folder.is_dir():
        folder.mkdir()
        painted = next((sound / "cache").glob("synthetic-*"))
        for path in sorted(painted.glob("*/*.jpg"))[::20]:
            shutil.copy(path, folder)


VERBS = ("predict", "evaluate", "explain", "resume", "compare", "study", "study again")


def _ready(verb: str, sound: Sound, folder: Path) -> Command:
    """Copy what a verb works on into a folder, and return its command."""
    folder.mkdir(parents=True)
    if verb in ("study", "study again"):
        shutil.copytree(sound.study / "study", folder / "run")
        if verb == "study":
            return Command("study", (f"dir={folder / 'run'}",), folder, sound.study / "cache")
        again = study_kills.study(sound.study, study_kills.STUDIES["one after the other"])
        words = [word for word in again.words if not word.startswith("hydra.sweep.dir=")]
        words.append(f"hydra.sweep.dir={folder / 'run'}")
        return Command("train", tuple(words), folder, sound.study / "cache")
    shutil.copytree(sound.home / "run", folder / "run")
    quiet, of = "runtime.progress=false", f"run={folder / 'run'}"
    images = f"input={sound.home / 'images'}"
    words_of = {
        "predict": (of, images, f"output={folder / 'answer' / 'out.csv'}", quiet),
        "evaluate": (
            of,
            "part=test",
            f"output={folder / 'answer'}",
            "evaluate.explain=false",
            quiet,
        ),
        "explain": (of, images, f"output={folder / 'answer'}", "patch=112", "stride=112", quiet),
        "compare": (
            f"runs=[{folder / 'run'},{sound.home / 'run'}]",
            "part=val",
            f"output={folder / 'answer'}",
            quiet,
        ),
        "resume": (f"resume={folder / 'run'}",),
    }
    name = {"resume": "train", "compare": "evaluate"}.get(verb, verb)
    return Command(name, words_of[verb], folder, sound.home / "cache")


def _answer(verb: str, folder: Path) -> Answer:
    """Digest what a verb writes for its user; of a run that goes on, all that it came to."""
    if verb == "resume" or verb in STATES:
        return answers.of_run(folder / "run")
    if verb in ("study", "study again"):
        found = answers.of_table(folder / "run")
        written = ("trials.csv",) if verb == "study" else ("trials.csv", "winner.json")
        return {name: value for name, value in found.items() if name.startswith(written)}
    told = sorted(
        path for path in (folder / "answer").glob("*") if path.suffix in (".csv", ".json")
    )
    return {path.name: path.read_text(encoding="utf-8").replace(str(folder), "") for path in told}


# Runs that are cut off and go on: after how many times which change of the disk, counted after
# another one.
STATES = {
    "head done": ("", "run/checkpoints/head.ckpt", 1),
    "in finetune": ("run/checkpoints/head.ckpt", "run/checkpoints/last.ckpt", 2),
    "finetune done": ("", "run/checkpoints/finetune.ckpt", 1),
    "cache": ("", "run/checkpoints/last.ckpt", 2),
}


def _moment(state: str, changes: Sequence[str]) -> Kill:
    """Return the kill that leaves a run in a state, from the changes of a whole run."""
    after, of, times = STATES[state]
    places = [n for n, change in enumerate(changes) if change.endswith(f"-> {of}")]
    begin = next((n for n, change in enumerate(changes) if after and change.endswith(after)), -1)
    return Kill(change=[n for n in places if n > begin][times - 1] + 2)


def _cut_off(state: str, changes: Sequence[str], folder: Path) -> Command:
    """Train in a folder until a state, and return the command that goes on."""
    folder.mkdir(parents=True)
    ended = run(scene.train(folder), _moment(state, changes))
    if not ended.killed:
        raise RuntimeError(f"The run was not cut off in '{state}':\n{ended.err}")
    return scene.resume(folder)


def _prepared(one: Try, sound: Sound, folder: Path) -> Command:
    if one.verb not in STATES:
        return _ready(one.verb, sound, folder)
    if one.verb == "cache":  # it knows its folder, so that each has one of its own
        return _cut_off(one.verb, sound.changes, folder)
    shutil.copytree(sound.states / one.verb / "run", folder / "run")
    return scene.resume(folder)


def _attempt(home: Path, sound: Sound, seed: int, one: Try) -> Case:
    """Damage one file, run one verb, and judge what it does."""
    folder = home / f"try-{one.number}"
    command = _prepared(one, sound, folder)
    DAMAGES[one.damage](next(folder.glob(one.file)), np.random.default_rng([seed, 5, one.number]))
    before = answers.contents(folder)
    ended = run(command)
    happened, verdict = _verdict(one, sound, folder, before, ended)
    if verdict == OK:
        shutil.rmtree(folder)
    name = f"{one.number} {one.verb}"
    return Case(one.verb, name, f"{one.file}: {one.damage}", happened, verdict)


def _verdict(one: Try, sound: Sound, folder: Path, before: Answer, ended: Ended) -> tuple[str, str]:
    if wrong := ended.complaint():
        return wrong, FAILED
    after = answers.contents(folder)
    outside = [name for name in before if name.startswith("outside/")]
    if any(before[name] != after.get(name) for name in outside):
        return "changed a file outside the run, through a link", FAILED
    if ended.status == 2:
        lost = [name for name in before if name not in after and not _temporary(name)]
        if lost:
            return f"refused, and lost {', '.join(lost[:4])}: {ended.line()}", FAILED
        return f"refused: {ended.line()}", OK
    if ended.status:
        return f"status {ended.status}: {ended.line()}", FAILED
    if one.verb == "resume" and after == before:
        return "the same answer: nothing was to do", OK
    answer = _answer(one.verb, folder)
    no_file = one.damage in ("deleted", "a folder")
    gone = re.fullmatch(r"run/(\d+)/DONE", one.file) if no_file else None
    if one.verb == "study" and gone:
        trial = gone[1]
        if _status(folder, trial) != "started":
            return "a trial without DONE is listed as one that has ended", FAILED
        answer = {**answer, f"trials.csv: {trial}": sound.answers[one.verb][f"trials.csv: {trial}"]}
    differ = answers.differences(sound.answers[one.verb], answer)
    if differ:
        return f"another answer with status 0: {differ}", FAILED
    return "the same answer", OK


def _status(folder: Path, trial: str) -> str:
    """Return what a study's table says of a trial."""
    with (folder / "run" / "trials.csv").open(newline="", encoding="utf-8") as file:
        return next(row["status"] for row in csv.DictReader(file) if row["trial"] == trial)


def _temporary(name: str) -> bool:
    return name.endswith((".tmp", ".partial"))


def _files(folder: Path) -> list[str]:
    """Name the files to be damaged: of a study one trial's and one winner's, of smears one."""
    names = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", ".tmp", ".partial"))
    )
    smears = [name for name in names if name.startswith("cache/") and name.endswith(".jpg")]
    winners = sorted({name.split("/")[2] for name in names if name.startswith("run/winner/")})
    others = ("run/1/", "run/2/", "run/3/", *(f"run/winner/{name}/" for name in winners[1:2]))
    skipped = {*smears[1:], *(name for name in names if name.startswith(others))}
    return [answers.anywhere(name) for name in names if name not in skipped]
