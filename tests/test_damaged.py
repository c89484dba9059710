"""A finished run is used as it was finished, or not at all; and a run directory is data."""

import csv
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import leukemia
from leukemia.classes import Classes
from leukemia.data.files.manifest import Manifest
from leukemia.errors import UserError
from leukemia.measure.predictions import Predictions, read_predictions
from leukemia.report.scores import Scores
from leukemia.runs.directory import NEEDED, RunDir, open_run
from leukemia.runs.finished import open_finished
from leukemia.runs.pages import compare_runs
from leukemia.runs.scoring import refuse_known
from leukemia.study.record import read_study, read_trial, write_record
from tests.commands import run_here, seal

IMAGE = np.full((64, 64, 3), 230, np.uint8)
IMAGE[16:48, 16:48] = (120, 60, 150)  # a cell
BIG = ("last.ckpt", "head.ckpt", "finetune.ckpt")


@pytest.fixture(scope="module")
def small(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run without what nothing reads any more."""
    folder = tmp_path_factory.mktemp("small") / "run"
    return shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(*BIG, "report.html"))


@pytest.fixture
def run(small: Path, tmp_path: Path) -> Path:
    """A run to be damaged."""
    return shutil.copytree(small, tmp_path / "run")


def predict(run: Path) -> object:
    return leukemia.load(run).predict(IMAGE)


def know(run: Path) -> object:
    """What lies far, as every verb that judges does."""
    known = open_finished(run, progress=False).known
    assert known is not None
    return known.score(np.ones((1, 1024)))


def judge_eight(run: Path) -> object:
    return open_finished(run, progress=False, tta=True).calibration()


def compare(run: Path) -> None:
    compare_runs([run, run], "val", None)


def other_images(run: Path) -> None:
    """Those of a folder, which are looked up among the run's own."""
    manifest = Manifest(("Pre/a.png",), np.array([2]), ("0" * 64,), ())
    refuse_known(open_finished(run, progress=False), manifest, IMAGE[np.newaxis])


def study(run: Path) -> object:
    return read_trial(0, run, {})


def resume(run: Path) -> object:
    return RunDir(run).reopen()


VERBS: dict[Callable[[Path], object], tuple[str, ...]] = {
    predict: (*NEEDED, "ood.npz", "thumbnails.npy", "calibration_single_view.json"),
    judge_eight: ("calibration.json",),
    compare: ("predictions/val.csv", "split.csv", "config.yaml"),
    other_images: ("thumbnails.npy", "split.csv"),
    study: ("metrics.json", "environment.json"),
    resume: (*NEEDED, "ood.npz", "predictions/test.csv"),
}


@pytest.mark.parametrize(("verb", "file"), [(v, f) for v, files in VERBS.items() for f in files])
def test_one_bit_of_a_finished_run_is_one_line_in_every_verb_that_reads_it(
    run: Path, verb: Callable[[Path], object], file: str
):
    data = bytearray((run / file).read_bytes())
    data[len(data) // 2] ^= 1
    (run / file).write_bytes(data)
    with pytest.raises(UserError, match=r"has changed \(its sha256.*bring the run back") as caught:
        verb(run)
    assert f"'{run / file}'" in str(caught.value)


@pytest.mark.parametrize("verb", [predict, resume])
def test_a_file_that_is_missing_or_was_added_is_one_line(run: Path, verb: Callable[[Path], object]):
    (run / "predictions" / "train.csv").write_text("")
    with pytest.raises(UserError, match=r"train\.csv' was added since the run was finished"):
        verb(run)
    (run / "predictions" / "train.csv").unlink()
    (run / "ood.npz").unlink()
    with pytest.raises(UserError, match=r"ood\.npz' is missing since the run was finished"):
        verb(run)


def saved(**arrays: object) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


def bank(n: int = 3, d: int = 1024) -> np.ndarray:
    return np.eye(n, d, dtype=np.float32)


def edited(**values: object) -> Callable[[Path], object]:
    """An object of JSON with other values."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replaced(old: str, new: str) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text, count=1))

    return damage


def weights(value: float) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        content["state_dict"][
            "head.weight"
            if "head.weight" in content["state_dict"]
            else next(key for key, found in content["state_dict"].items() if found.ndim > 1)
        ].view(-1)[0] = value
        torch.save(content, path)

    return damage


TEXTS = (b"", b"\x00\xff\xfe", b"5\n", b"[]\n", b"a: [\n", b'"text"')
KINDS: list[tuple[Callable[[Path], object], str, Callable[[Path], object]]] = [
    *((predict, "config.yaml", lambda path, text=text: path.write_bytes(text)) for text in TEXTS),
    *((resume, "DONE", lambda path, text=text: path.write_bytes(text)) for text in TEXTS[1:]),
    *(
        (verb, file, lambda path, text=text: path.write_bytes(text))
        for verb, file in (
            (predict, "calibration_single_view.json"),
            (judge_eight, "calibration.json"),
            (study, "metrics.json"),
            (study, "environment.json"),
            (know, "ood.npz"),
            (know, "checkpoints/best.ckpt"),
            (other_images, "thumbnails.npy"),
            (other_images, "split.csv"),
            (compare, "predictions/val.csv"),
        )
        for text in TEXTS[:4]
    ),
    (predict, "config.yaml", replaced("(?s)trainer:.*?\n(?=\\w)", "")),
    (predict, "config.yaml", replaced("(?s)trainer:.*?\n(?=\\w)", "trainer: 5\n")),
    (predict, "config.yaml", replaced("  tta: .*\n", "")),
    (predict, "config.yaml", replaced("  size: 64", "  size: [a]")),
    (predict, "config.yaml", replaced("seed: 0", "seed: ${oc.env:HOME}")),
    (predict, "config.yaml", replaced("seed: 0", "seed: ???")),
    (predict, "config.yaml", replaced("seed: 0", "seed: &a 0\nother: *a")),
    (predict, "config.yaml", replaced("seed: 0", "seed: !!python/object/apply:os.getcwd []")),
    (predict, "config.yaml", replaced("seed: 0", "seed: 0\nseed: 1")),
    (predict, "config.yaml", lambda path: path.write_text("a: " + "[" * 50_000)),
    (predict, "config.yaml", lambda path: path.write_text("a: b\n" + "#" * 100_001)),
    (predict, "calibration_single_view.json", edited(temperature=float("nan"))),
    (predict, "calibration_single_view.json", edited(threshold=None)),
    (predict, "calibration_single_view.json", lambda p: p.write_text("[" * 100_000)),
    (know, "ood.npz", saved(bank=bank(d=7), limit=0.5)),
    (know, "ood.npz", saved(bank=bank(), limit=np.nan)),
    (know, "ood.npz", saved(bank=bank() * np.nan, limit=0.5)),
    (know, "ood.npz", saved(bank=bank() * 2, limit=0.5)),
    (know, "ood.npz", saved(bank=bank(0), limit=0.5)),
    (know, "ood.npz", saved(bank=np.array(["a"]), limit=0.5)),
    (know, "ood.npz", saved(bank=np.array([{}], object), limit=0.5)),
    (know, "ood.npz", saved(bank=bank())),
    (know, "ood.npz", saved(bank=bank(), limit="wide")),
    (know, "checkpoints/best.ckpt", lambda path: torch.save([1], path)),
    (know, "checkpoints/best.ckpt", lambda path: torch.save(5, path)),
    (know, "checkpoints/best.ckpt", lambda path: torch.save({"state_dict": {}}, path)),
    (know, "checkpoints/best.ckpt", weights(float("nan"))),
    (know, "checkpoints/best.ckpt", weights(float("inf"))),
    (other_images, "thumbnails.npy", lambda path: np.save(path, np.zeros((2, 32, 32), np.uint8))),
    (other_images, "thumbnails.npy", lambda path: np.save(path, np.array(["a"]))),
    (study, "metrics.json", edited(val=[])),
    (study, "metrics.json", edited(val={"n": 3})),
    (study, "environment.json", edited(wall_seconds="long")),
    (compare, "predictions/val.csv", replaced("0\\.\\d+", "nan")),
    (compare, "predictions/val.csv", replaced("0\\.\\d+", "inf")),
]


@pytest.mark.parametrize(("verb", "file", "damage"), KINDS)
def test_a_damaged_file_with_matching_checksums_is_one_line_too(
    run: Path,
    verb: Callable[[Path], object],
    file: str,
    damage: Callable[[Path], object],
):
    damage(run / file)
    if file != "DONE":
        seal(run)
    with pytest.raises(UserError) as caught:
        verb(run)
    assert Path(file).name in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert os.environ["HOME"] not in str(caught.value)


@pytest.mark.parametrize("verb", ["predict", "explain", "evaluate"])
def test_a_verb_says_it_in_one_line(verb: str, run: Path, cache: Path, smear: Path, tmp_path: Path):
    damaged = run / "checkpoints" / "best.ckpt"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(b ^ 255 for b in data[:400])
    damaged.write_bytes(data)
    words = [f"run={run}"] if verb == "evaluate" else [f"run={run}", f"input={smear}"]
    done = run_here(verb, *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"'{damaged}' has changed" in done.stderr
    assert "Benign" not in done.stdout
    seal(run)  # by whoever made it: torch does not look at the CRCs
    done = run_here(verb, *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"'{damaged}' cannot be used" in done.stderr


def test_a_resume_of_a_finished_run_sweeps_and_verifies_it(run: Path):
    (run / f".{'0' * 32}.tmp").write_text("half")
    assert "finished already" in resume(run)
    assert not list(run.glob(".*.tmp"))
    (run / "DONE").write_text("2025-01-01T12:00:00+0000\n")
    for verb in (predict, compare, study, resume):
        with pytest.raises(UserError, match="DONE"):
            verb(run)


def test_done_lists_what_later_verbs_read(small: Path):
    listed = json.loads((small / "DONE").read_text())["sha256"]
    assert set(listed) == {
        *NEEDED,
        *("ood.npz", "thumbnails.npy", "calibration_single_view.json", "predictions/test.csv"),
    }


def test_a_run_that_lacks_a_file_is_not_finished(run: Path):
    (run / "DONE").unlink()
    (run / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"config\.yaml was removed"):
        RunDir(run).finish()
    assert not (run / "DONE").exists()


def test_probabilities_that_are_not_finite_are_no_class(run: Path):
    classes = Classes()
    with pytest.raises(UserError, match=r"no finite number, the first of them 'b'"):
        Scores(("a", "b"), np.array([[1.0, 0, 0, 0], [np.nan] * 4]), np.array([True] * 2), classes)
    finished = open_finished(run, progress=False)
    with torch.no_grad():  # finite, and beyond all range together
        for weight in finished.network.parameters():
            weight.fill_(3e38)
    size = finished.cfg.crop.size
    for judged in (finished.judge, finished.score):
        with pytest.raises(UserError, match=rf"'{re.escape(str(run))}' answers 2 of 2 images"):
            judged(np.full((2, size, size, 3), 9, np.uint8))


def test_a_bomb_of_aliases_does_not_hang(run: Path):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (run / "config.yaml").write_text(bomb)
    (run / "DONE").unlink()
    began = time.monotonic()
    with pytest.raises(UserError, match=r"config\.yaml.*anchors or aliases"):
        open_run(run)
    assert time.monotonic() - began < 2


def test_nothing_of_the_environment_is_resolved(
    run: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET", "told to nobody")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: ${oc.env:SECRET}"))
    for finished in (True, False):
        if finished:
            seal(run)
        else:
            (run / "DONE").unlink()
        done = run_here(
            *("evaluate" if finished else "train", f"{'run' if finished else 'resume'}={run}"),
            cache=cache,
            cwd=tmp_path,
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        assert "seed is '${oc.env:SECRET}'" in done.stderr
        assert "told to nobody" not in done.stdout + done.stderr


LINKS = [
    "checkpoints",
    "checkpoints/best.partial",
    "checkpoints/best.ckpt",
    ".lock",
    "predictions",
    "DONE",
    "config.yaml",
    "evaluation",
    "report.html",
    "history.csv",
]


@pytest.mark.parametrize("name", LINKS)
def test_no_link_leads_out_of_a_run(run: Path, tmp_path: Path, name: str):
    outside, inside = tmp_path / "outside", run / name
    if inside.is_dir():
        shutil.move(inside, outside)
    else:
        shutil.move(inside, outside) if inside.exists() else outside.write_text("mine")
    inside.symlink_to(outside)
    before = {path: path.stat().st_mtime_ns for path in (outside, *outside.glob("*"))}
    for verb in (predict, compare, resume, lambda run: RunDir(run).held().__enter__()):
        with pytest.raises(UserError, match=r"is a link that leads out of") as caught:
            verb(run)
        assert f"'{inside}'" in str(caught.value)
    assert before == {path: path.stat().st_mtime_ns for path in (outside, *outside.glob("*"))}


def test_a_run_directory_may_itself_be_a_link_and_hold_links_inside(run: Path, tmp_path: Path):
    moved = shutil.move(run / "ood.npz", run / "known.npz")
    (run / "ood.npz").symlink_to("known.npz")
    assert Path(moved).is_file()
    (tmp_path / "link").symlink_to(run)
    predict(tmp_path / "link")
    assert "finished already" in resume(tmp_path / "link")


def test_a_pipe_in_a_run_blocks_nobody(run: Path):
    os.mkfifo(run / "skipped.csv")
    with pytest.raises(UserError, match=r"skipped\.csv' is neither a file nor a folder"):
        predict(run)


def test_what_kills_left_is_swept_by_who_holds_the_lock(run: Path):
    left = [
        run / f".{'0123456789abcdef' * 2}.tmp",
        run / "evaluation" / "val" / f".{'a' * 32}.tmp",
        run / "checkpoints" / "best.partial",
    ]
    others = [
        run / ".mine.tmp",
        run / f".{'A' * 32}.tmp",
        run / "notes.partial",
        run / "wandb" / f".{'a' * 32}.tmp",
    ]
    for path in (*left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    resume(run)
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


def test_evaluate_sweeps_where_it_writes(run: Path, cache: Path, tmp_path: Path):
    left = run / f".{'b' * 32}.tmp"
    left.write_text("half")
    words = [f"run={run}", "part=val", "evaluate.explain=false"]
    done = run_here("evaluate", *words, cache=cache, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not left.exists()
    assert (run / "evaluation" / "val" / "predictions.csv").is_file()
    predict(run)  # what evaluate adds is no part of the run


NAMES = ("=cmd|' /C calc'!A0.png", "+1.png", "-1.png", "@SUM(A1).png", "=Pre/a.png", "Pre/a.png")


def test_no_table_has_a_formula_and_all_are_read_back(tmp_path: Path):
    classes = Classes(("=Benign", "Early", "Pre", "Pro"), "=Benign")
    n = len(NAMES)
    table = Predictions(NAMES, np.zeros(n, np.int64), np.eye(4)[np.zeros(n, int)], classes)
    table.write(tmp_path / "val.csv")
    again = read_predictions(tmp_path / "val.csv", classes)
    assert (again.files, again.labels.tolist()) == (NAMES, [0] * n)
    scores = Scores(NAMES, table.probabilities, np.array([True] * n), classes)
    (tmp_path / "scores.csv").write_text(scores.to_csv())
    RunDir(tmp_path).write_skipped([(name, "=bad") for name in NAMES])
    for name in ("val.csv", "scores.csv", "skipped.csv"):
        with (tmp_path / name).open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert [cell for cell in cells if cell.startswith(tuple("=+-@\t"))] == [], name


@pytest.fixture(scope="module")
def begun(finished: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that a kill ended after its last epoch, before the last stage was noted."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("begun") / "run")
    (folder / "DONE").unlink()
    (folder / "checkpoints" / "finetune.ckpt").unlink()
    return folder


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *((f"checkpoints/{name}.ckpt", b"") for name in ("head", "last", "best")),
        ("checkpoints/last.ckpt", [1, 2]),
        ("checkpoints/last.ckpt", {"state_dict": {}}),
        ("checkpoints/head.ckpt", 5),
        ("config.yaml", b"5"),
        ("history.csv", b"a\n1\n"),
        ("split.csv", b"\x00\xff"),
    ],
)
def test_a_resume_of_a_damaged_run_is_one_line(
    begun: Path, cache: Path, tmp_path: Path, file: str, damage: object
):
    run = shutil.copytree(begun, tmp_path / "run")
    if isinstance(damage, bytes):
        (run / file).write_bytes(damage)
    else:
        torch.save(damage, run / file)
    before = (run / file).read_bytes()
    done = run_here("train", f"resume={run}", cache=cache, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"{run / file}" in done.stderr
    assert (run / file).read_bytes() == before
    assert not (run / "DONE").exists()


def study_of(run: Path, folder: Path) -> Path:
    """A study whose one trial is the run."""
    shutil.copytree(run, folder / "0")
    record = {
        "name": "s",
        "metric": "nll",
        "tie_break": [],
        "chart": "bars",
        "trials": [{"x": "1"}],
    }
    write_record(folder, record)
    return folder


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "{}", '{"name": "a", "metric": 5, "tie_break": 1}', '{"trials": [1]}']
)
def test_a_damaged_record_of_a_study_is_one_line(small: Path, tmp_path: Path, text: str):
    folder = study_of(small, tmp_path / "study")
    assert read_study(folder).trials[0].status == "done"
    (folder / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"study\.json"):
        read_study(folder)


@pytest.mark.parametrize(("old", "new"), [('"x": "1"', '"x": "2"'), ('"nll"', '"ece"')])
def test_a_changed_record_of_a_study_is_refused(small: Path, tmp_path: Path, old: str, new: str):
    folder = study_of(small, tmp_path / "study")
    record = folder / "study.json"
    record.write_text(record.read_text().replace(old, new))
    with pytest.raises(UserError, match=r"study\.json.*has changed since"):
        read_study(folder)


@pytest.mark.parametrize("name", ["winner", ".locks", "0/checkpoints/last.partial", "figures"])
def test_no_link_leads_out_of_a_study(small: Path, tmp_path: Path, name: str):
    folder = study_of(small, tmp_path / "study")
    (tmp_path / "outside").mkdir()
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=r"is a link that leads out of"):
        read_study(folder)


@pytest.mark.parametrize("text", [b"", b"../../x", b"\xff", b"a\nb", b"a" * 5000])
def test_an_id_of_wandb_that_is_none_is_one_line(tmp_path: Path, text: bytes):
    wandb = pytest.importorskip("leukemia.tracking.wandb")
    (tmp_path / "wandb.id").write_bytes(text)
    with pytest.raises(UserError, match=r"wandb\.id"):
        wandb._id_of(RunDir(tmp_path))
