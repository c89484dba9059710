"""Damaged files of runs, under every verb that reads them.

A verb must either refuse with one line and status 2, or answer exactly as before: a changed
answer with status 0 is the failure that is looked for. A verb's files are those that it is seen
to open; of the others each is tried deleted and with bits flipped, to show that they are not
needed.
"""

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable
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
        answers: by verb.
    """

    home: Path
    study: Path
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
    known, tries = _plan(home, sound, rng)
    if cases is not None and cases < len(tries):
        tries = [tries[place] for place in np.sort(rng.choice(len(tries), cases, replace=False))]
    found = list(side_by_side(partial(_attempt, home, known, seed), tries, jobs))
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


def _plan(home: Path, sound: Path, rng: Rng) -> tuple[Sound, list[Try]]:
    """Ask every verb of the sound run and study, and see which files it opens."""
    _write_images(sound)
    study = home / "sound_study"
    begun = run(study_kills.study(study, study_kills.STUDIES["one after the other"]))
    if begun.status:
        raise RuntimeError(f"The undamaged study fails:\n{begun.out}\n{begun.err}")
    known = Sound(sound, study, {})
    tries: list[tuple[str, str, str]] = []
    for verb in VERBS:
        folder = home / f"sound-{verb.replace(' ', '_')}"
        command = _ready(verb, known, folder)
        before = _files(folder)
        ended = run(command)
        if ended.status:
            raise RuntimeError(f"'{verb}' fails on the undamaged run:\n{ended.out}\n{ended.err}")
        known.answers[verb] = _answer(verb, folder)
        for file in before:
            damages = DAMAGES if file in ended.opened else NOT_READ
            tries += [(verb, file, damage) for damage in damages]
    for state in STATES:
        known.answers[state] = answers.of_run(sound / "run")
        folder = home / f"sound-{state.replace(' ', '_')}"
        _cut_off(state, sound, folder, known)
        files = [file for file in _files(folder) if "images" not in file]
        damages = CACHED if state == "cache" else MID_RUN
        tries += [(state, file, damage) for file in files for damage in damages]
    return known, [Try(*one, number) for number, one in enumerate(tries)]


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
    quiet, of = "trainer.progress=false", f"run={folder / 'run'}"
    images = f"input={sound.home / 'images'}"
    words_of = {
        "predict": (of, images, f"output={folder / 'answer' / 'out.csv'}", quiet),
        "evaluate": (of, "part=test", f"output={folder / 'answer'}", "evaluate.explain=false",
                     quiet),
        "explain": (of, images, f"output={folder / 'answer'}", "patch=112", "stride=112", quiet),
        "compare": (f"runs=[{folder / 'run'},{sound.home / 'run'}]", "part=val",
                    f"output={folder / 'answer'}", quiet),
        "resume": (f"resume={folder / 'run'}",),
    }
    name = {"resume": "train", "compare": "evaluate"}.get(verb, verb)
    return Command(name, words_of[verb], folder, sound.home / "cache")


def _answer(verb: str, folder: Path) -> Answer:
    if verb == "resume":
        return answers.of_run(folder / "run")
    if verb in ("study", "study again"):
        return answers.of_study(folder / "run")
    found = answers.contents(folder / "answer") if (folder / "answer").is_dir() else {}
    return {name: value for name, value in found.items() if name.endswith((".csv", ".json"))}


# Runs that were cut off: before which change of the disk, and what is then damaged.
STATES = {
    "after the head": "rename run/checkpoints/last.partial -> run/checkpoints/last.ckpt",
    "in the fine-tuning": "",
    "before the refit": "",
    "cache": "",
}


def _cut_off(state: str, sound: Path, folder: Path, known: Sound) -> None:
    raise NotImplementedError
