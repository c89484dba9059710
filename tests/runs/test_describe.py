"""What a report shows of a run belongs to the files that it names."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from leukemia.classes import Classes
from leukemia.data.datamodule import EmbeddingDataModule, SmearDataModule
from leukemia.data.image.mask import MaskSpec
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.split.protocols import stratified_split
from leukemia.errors import UserError
from leukemia.measure.predictions import Predictions
from leukemia.models.network import Outputs
from leukemia.runs import pages as describe

CLASSES = Classes(("A", "B"), benign="A")
SIDE = 16


def splitter(manifest, groups):
    return stratified_split(manifest, groups, 2, seed=0)


def all_wrong(data, parts=("val", "test")):
    """Every image called the other class, the first ones most surely."""
    found = {}
    for part in parts:
        rows = data.parts[part]
        labels, sure = data.manifest.labels[rows], np.linspace(0.9, 0.6, len(rows))
        p = np.stack([np.where(labels == 1, sure, 1 - sure), np.where(labels == 0, sure, 1 - sure)])
        files = tuple(data.manifest.files[row] for row in rows)
        found[part] = Predictions(files, labels, p.T, CLASSES)
    return found


def tone(file):
    """Each file of the folder has its own grey."""
    return 20 + 10 * int(file.split("/")[1][:2])


@pytest.fixture(params=["none", "published"])
def smears(request, tmp_path):
    for name in CLASSES.names:
        (tmp_path / "images" / name).mkdir(parents=True)
    for i in range(20):
        file = f"{CLASSES.names[i % 2]}/{i:02d}.png"
        pixels = np.full((SIDE, SIDE, 3), tone(file), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / file)
    data = SmearDataModule(
        tmp_path / "images",
        CLASSES,
        Preprocess(MaskSpec(request.param), size=SIDE),
        splitter,
        tmp_path / "cache",
    )
    data.setup()
    return data


def test_a_picture_is_of_the_file_that_the_prediction_names(smears):
    predictions = all_wrong(smears)
    shown = describe.show_mistakes(smears, predictions)
    assert {part: len(views) for part, views in shown.items()} == {"val": 4, "test": 4}
    for part, views in shown.items():
        for row, named in views.items():
            file = predictions[part].files[row]
            assert (named["image"] == tone(file)).all()
            seen = smears.pixels()[0][smears.parts[part][row]]
            assert (named.get("as the network sees it", named["image"]) == seen).all()
            # Grey has no stain: masked, it looks different, and then both views are shown.
            assert ("as the network sees it" in named) == (seen != tone(file)).any()


def test_a_file_that_is_gone_is_shown_as_it_was_cached(smears):
    predictions = all_wrong(smears, ["test"])
    for file in predictions["test"].files:
        (smears.root / file).unlink()
    for named in describe.show_mistakes(smears, predictions)["test"].values():
        assert list(named) == ["as the network sees it"]


def test_the_data_are_counted_by_part_and_class(smears):
    cfg = OmegaConf.create({"data": {"name": "folder"}, "split": {"name": "stratified"}})
    facts = describe.describe_data(cfg, smears)
    assert facts.counts == {
        "train": {"A": 6, "B": 6},
        "val": {"A": 2, "B": 2},
        "test": {"A": 2, "B": 2},
    }
    assert facts.fingerprint == smears.manifest.fingerprint
    assert (facts.source, facts.split, facts.skipped) == ("folder", "stratified", 0)
    assert facts.disjoint == "files and identical copies"
    related = smears.split.groups.copy()
    related[:2] = related[0]
    object.__setattr__(smears.split, "groups", related)
    assert "groups of related images (1 such" in describe.describe_data(cfg, smears).disjoint


@pytest.fixture
def embeddings(tmp_path):
    files = [f"{CLASSES.names[i % 2]}/{i:02d}.jpg" for i in range(40)]
    table = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.savez(tmp_path / "table.npz", embeddings=table, files=files)
    data = EmbeddingDataModule(tmp_path / "table.npz", CLASSES, splitter)
    data.setup()
    return data


def seen_of(data):
    """What a network makes of validation and test that passes its inputs on."""
    found = {part: torch.from_numpy(data.array[data.parts[part]]) for part in ("val", "test")}
    return {part: Outputs(rows, rows, rows) for part, rows in found.items()}


def test_a_point_of_the_map_is_of_its_image(embeddings, monkeypatch):
    monkeypatch.setattr(describe, "project", lambda rows, seed, method: rows[:, :2])
    cfg = OmegaConf.create({"seed": 0})
    predictions = all_wrong(embeddings)
    found = describe.map_embeddings(cfg, seen_of(embeddings), predictions)
    rows = np.concatenate([embeddings.parts["val"], embeddings.parts["test"]])
    assert (found.points == embeddings.array[rows, :2]).all()
    assert (found.labels == embeddings.manifest.labels[rows]).all()
    assert (found.predicted != found.labels).all()
    assert found.parts == ("val",) * 8 + ("test",) * 8
    assert (found.method, found.dimensions, found.total) == ("t-SNE", 6, 16)


def test_embeddings_have_no_pictures_and_a_map_can_be_left_out(embeddings):
    predictions = all_wrong(embeddings)
    assert describe.show_mistakes(embeddings, predictions) == {}
    cfg = OmegaConf.create({"seed": 0, "report": {"map": None}})
    assert describe.map_embeddings(cfg, seen_of(embeddings), predictions) is None
    with pytest.raises(UserError, match=r"report\.map"):
        describe.map_method(OmegaConf.create({"report": {"map": "pca"}}))
