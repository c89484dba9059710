"""`python -m leukemia.audit`, from outside: what it finds of what was planted."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from leukemia.audit import __main__ as audit
from leukemia.audit import health
from leukemia.classes import Classes
from leukemia.data.files.images import BadImage
from leukemia.data.files.manifest import build_manifest
from leukemia.data.split.grouped import grouped_split
from leukemia.data.split.groups import join_groups
from leukemia.data.synthetic import paint_smears
from tests.browser import browser
from tests.commands import run_here

PER_CLASS, GROUPS = 24, 6
MARKED = "Pre"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Painted smears of six acquisition groups with a mark on one class, a file that lies in two
    classes, and one that is no image."""
    folder = tmp_path_factory.mktemp("planted") / "images"
    paint_smears(folder, per_class=PER_CLASS, groups=GROUPS, seed=3)
    for path in (folder / MARKED).iterdir():
        picture = cv2.imread(str(path))
        cv2.line(picture, (190, 212), (214, 212), (20, 20, 20), 3)
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    shutil.copy(folder / "Early/WBC-Early-003.jpg", folder / "Pro/copied <b>.jpg")
    (folder / "Benign/broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def audited(images: Path) -> Path:
    cwd = images.parent
    done = run_here("audit", "data=folder", f"data.root={images}", "output=out", cache=cwd, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "97 images audited: out/audit.html" in done.stdout
    return cwd / "out"


@pytest.fixture(scope="module")
def found(audited: Path) -> dict:
    return json.loads((audited / "audit.json").read_text())


def rows(audited: Path) -> dict[str, str]:
    with (audited / "groups.csv").open(newline="") as file:
        return {row["file"]: row["group"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def cleaned(images: Path, audited: Path) -> Path:
    """A second audit, without scale bars and with groups of the user's own."""
    cwd = images.parent
    lines = [f"{file},{number % 9}" for number, file in enumerate(rows(audited))]
    (cwd / "patients.csv").write_text("\n".join(["file,group", *lines]))
    done = run_here(
        "audit", "data=folder", f"data.root={images}", "data.groups=patients.csv", "output=clean",
        "mask.scale_bar=remove", "protocols.stratified=null", cache=cwd, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return cwd / "clean"


def test_planted_acquisition_groups_are_recovered(audited):
    groups = {k: v for k, v in rows(audited).items() if "WBC" in k}
    truth = [(int(file[-7:-4]) - 1) * GROUPS // PER_CLASS for file in groups]
    assert len(groups) == 4 * PER_CLASS
    assert adjusted_rand_score(truth, list(groups.values())) >= 0.9


def test_a_mark_planted_in_the_corner_of_one_class_is_the_first_floor(found):
    floors = found["floors"]
    assert floors[0]["features"] == "lower right corner"
    pooled = next(f for f in floors if f["protocol"] == "kfold")
    assert (pooled["features"], pooled["given_away"]) == ("lower right corner", MARKED)
    assert pooled["balanced"] > 0.9
    shortcuts = [line for line in found["findings"] if line.startswith("Shortcut")]
    assert shortcuts[0].startswith("Shortcut: lower right corner")
    assert "none" not in found["health"]["scale_bars"][MARKED].split(", ")[0]


def test_the_mark_is_no_floor_any_more_once_scale_bars_are_removed(found, cleaned):
    after = json.loads((cleaned / "audit.json").read_text())

    def corner(audit: dict) -> float:
        named = ("lower right corner", "kfold")
        pooled = next(f for f in audit["floors"] if (f["features"], f["protocol"]) == named)
        return pooled["balanced"]

    assert corner(found) > 0.9
    assert corner(after) < 0.65  # of one class against the others: 0.5 is chance
    assert after["floors"][0]["features"] != "lower right corner"
    assert after["settings"]["mask.scale_bar"] == "remove"
    # What the photographs are like is still told: their bars are part of the groups.
    assert after["health"] == found["health"]


def test_a_label_error_comes_first_and_is_shown(audited, found):
    (pair,) = [pair for pair in found["duplicates"] if pair["across_classes"]]
    assert found["duplicates"][0] == pair
    assert {pair["first"], pair["second"]} == {"Early/WBC-Early-003.jpg", "Pro/copied <b>.jpg"}
    assert found["findings"][0].startswith("1 pair of duplicates with two labels")
    page = (audited / "audit.html").read_text()
    assert "LABEL ERROR" in page
    assert "copied <b>" not in page
    assert "copied &lt;b&gt;" in page


def test_unreadable_files_are_listed_and_splits_that_cannot_be_made_are_named(found):
    assert [one["file"] for one in found["data"]["skipped"]] == ["Benign/broken.jpg"]
    assert found["data"]["classes"] == {"Benign": 24, "Early": 24, "Pre": 24, "Pro": 25}
    assert {floor["protocol"] for floor in found["floors"]} == {"stratified", "grouped", "kfold"}
    assert [note.split(":")[0] for note in found["notes"]] == ["No floors under split=paper"]


def test_groups_csv_makes_a_split_that_keeps_groups_whole(audited, images):
    manifest = build_manifest(images, Classes(), on_bad="skip")
    groups = join_groups(manifest, audited / "groups.csv")
    parts = grouped_split(manifest, groups, 4, seed=0).parts
    held = [set(groups[parts[part]].tolist()) for part in ("train", "val", "test")]
    assert sum(map(len, held)) == len(set.union(*held)) == len(set(rows(audited).values()))


def test_a_users_own_groups_come_before_those_found(audited, cleaned):
    assert "the groups of data.groups whole" in (cleaned / "audit.html").read_text()
    assert rows(cleaned) == rows(audited)
    floors = json.loads((cleaned / "audit.json").read_text())["floors"]
    assert {floor["protocol"] for floor in floors} == {"grouped", "kfold"}


def test_the_floors_of_an_audit_can_stand_in_a_runs_settings(tmp_path):
    floors = [
        {"features": "mean colour", "protocol": "paper", "accuracy": 0.75},
        {"features": "mean colour", "protocol": "kfold", "accuracy": 0.5},
    ]
    (tmp_path / "audit.json").write_text(json.dumps({"floors": floors}))
    words = ["data=synthetic", "data.per_class=2", "model=baseline", "trainer.max_epochs=1"]
    done = run_here("train", *words, "data.floors=none.json", cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "'none.json' is none" in done.stderr
    from hydra import compose, initialize_config_dir

    from leukemia import cli
    from leukemia.settings.settled import settle

    with initialize_config_dir(str(cli.CONF), version_base="1.3"):
        cfg = compose("train", [*words, f"data.floors={tmp_path / 'audit.json'}"])
    settle(cfg, multirun=False)
    assert cfg.data.floors == {"mean colour": 0.75}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=folder"], "data=folder has no images"),
        (["duplicates.threshold=2"], "Expected duplicates.threshold to be above 0 and at most 1"),
        (["mask.scale_bar=crop"], "mask.scale_bar to be one of keep, remove, but got 'crop'"),
        (["groups.smallest=2.5"], "Expected groups.smallest to be a whole number, but got 2.5"),
        (["floors.most=1"], "Expected floors.most to be a whole number from 100 on, but got 1"),
        (["floors.penalty=no"], "Expected floors.penalty to be a finite number, but got 'no'"),
        (["seed=-1"], "Expected seed to be a whole number from 0 on, but got -1"),
        (["protocols.kfold.folds=0"], "Expected protocols.kfold.folds to be a whole number from 3"),
        (["protocols.kfold.folds=2.5"], "Expected protocols.kfold.folds to be a whole number"),
        (["protocols.kfold=false"], "Expected protocols.kfold to be settings of its own"),
        (["output=file"], "Expected output to be a folder, but 'file' is a file"),
        (["groups.smalest=3"], "Did you mean groups.smallest"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path, words, said):
    (tmp_path / "file").touch()
    done = run_here("audit", *words, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_table_of_groups_is_looked_at_before_the_images(images, monkeypatch):
    monkeypatch.setattr("leukemia.audit.health.survey", None)
    words = ["data=folder", f"data.root={images}", "data.groups=lost.csv"]
    done = run_here("audit", *words, cache=images.parent, cwd=images.parent)
    assert done.returncode == 2
    assert "data.groups 'lost.csv' cannot be read" in done.stderr


def test_nothing_is_written_into_the_dataset(images):
    words = ["data=folder", f"data.root={images}", f"output={images / 'Pre'}"]
    done = run_here("audit", *words, cache=images.parent, cwd=images.parent)
    assert done.returncode == 2
    assert "lies inside the dataset" in done.stderr


def test_the_page_shows_all_its_pictures_and_is_no_wider_than_the_window(audited, tmp_path):
    with browser(tmp_path) as page:
        for width in (1280, 400):
            page.open(audited / "audit.html", width)
            shown = page.value("[...document.images].map(i => i.complete && i.naturalWidth)")
            assert len(shown) > 10
            assert np.all(shown)
            assert page.value("document.documentElement.scrollWidth") <= width
        assert page.heard("Log.entryAdded") == []


@pytest.mark.parametrize("on_bad", ["skip", "error"])
def test_images_that_are_lost_meanwhile_do_not_take_the_audit_with_them(
    images, tmp_path, monkeypatch, on_bad
):
    def read(path):
        name = path.name
        if name == "WBC-Pre-001.jpg":
            raise BadImage("cannot be read: No such file or directory")
        if name == "WBC-Pro-001.jpg":
            raise MemoryError
        return real(path) + (b"x" if name == "WBC-Early-001.jpg" else b"")

    real = health.read_bytes
    monkeypatch.setattr(health, "read_bytes", read)
    here = tmp_path / "images"
    shutil.copytree(images, here)
    (here / "Benign" / "broken.jpg").unlink()
    done = run_here(
        "audit", "data=folder", f"data.root={here}", f"data.on_bad={on_bad}", "output=out",
        "protocols={stratified: null, grouped: null, kfold: null}", "floors.most=100",
        cache=images.parent, cwd=tmp_path,
    )  # fmt: skip
    if on_bad == "error":
        assert done.returncode == 2
        assert "3 of 97 images were lost" in done.stderr
        assert "Pro/WBC-Pro-001.jpg (too large for the memory that is free)" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "94 images audited" in done.stdout
    assert len(rows(tmp_path / "out")) == 94
    facts = json.loads((tmp_path / "out" / "audit.json").read_text())["data"]
    assert [(one["file"], one["reason"]) for one in facts["skipped"]] == [
        ("Early/WBC-Early-001.jpg", "changed since the folder was listed"),
        ("Pre/WBC-Pre-001.jpg", "cannot be read: No such file or directory"),
        ("Pro/WBC-Pro-001.jpg", "too large for the memory that is free"),
    ]


def test_a_picture_that_is_gone_by_now_is_grey_on_the_page(tmp_path):
    assert (audit._picture(tmp_path / "gone.jpg") == 128).all()
