"""`data.classes`, `data.pattern` and the data files of other people's layouts, to objects."""

import hydra
import numpy as np
import pytest

from leukemia.cli import CONF, quoted
from leukemia.compose.data import build_data
from leukemia.compose.model import build_loss
from leukemia.compose.preprocess import build_classes, build_layout, settle_classes
from leukemia.data.split.parts import PARTS
from leukemia.errors import UserError
from leukemia.settings import schema
from tests.foreign import EIGHT, FIVE, paint_cnmc, paint_folders, paint_idb, paint_raabin


def composed(*overrides, verb="train"):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose(verb, [quoted(text, verb) for text in overrides])
    schema.check(cfg, verb)
    return cfg


def settled(*overrides):
    cfg = composed(*overrides, "crop.size=32", "open_test=true")
    settle_classes(cfg, overrides)
    return cfg


def opened(tmp_path, *overrides):
    cfg = settled(*overrides, f"data.cache_dir={tmp_path / 'cache'}")
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    return cfg, data


def test_names_that_are_not_set_are_those_of_the_folders(tmp_path):
    paint_folders(tmp_path, FIVE[::-1], 1)
    cfg = settled("data=folder", f"data.root={tmp_path}")
    assert list(cfg.data.classes.names) == sorted(FIVE)
    assert not build_classes(cfg).has_cancer
    # As the run's config.yaml has it: nothing of it says what was not done.
    assert (cfg.loss.lambda_bce, cfg.loss.cancer_weight) == (0.0, 1.0)
    assert build_loss(cfg).benign == ()


def test_names_that_are_set_stay_in_their_order(tmp_path):
    paint_folders(tmp_path, ("a", "b", "c"), 1)
    words = ["data=folder", f"data.root={tmp_path}", "data.classes.names=[c,a,b]"]
    cfg = settled(*words, "data.classes.benign=[b,c]")
    assert build_classes(cfg).names == ("c", "a", "b")
    loss = build_loss(cfg)
    assert (loss.benign, loss.cancer) == ((0, 2), (1,))
    assert (cfg.loss.lambda_bce, cfg.loss.cancer_weight) == (1.0, 2.0)
    np.testing.assert_array_equal(loss.class_weights, [1, 2, 1])


def test_the_classes_of_aria_and_of_painted_smears_are_their_four():
    for data in ("aria", "synthetic", "embeddings"):
        cfg = settled(f"data={data}")
        assert build_classes(cfg).names == ("Benign", "Early", "Pre", "Pro")
        assert build_classes(cfg).benign == "Benign"
        assert cfg.loss.cancer_weight == 2.0


@pytest.mark.parametrize("word", ["loss.lambda_bce=0.5", "loss.cancer_weight=3"])
def test_a_weight_of_cancer_says_nothing_to_a_plain_classifier(tmp_path, word):
    paint_folders(tmp_path, FIVE, 1)
    with pytest.raises(UserError, match="weighs cancer against benign, and no class is benign"):
        settled("data=folder", f"data.root={tmp_path}", word)
    # What it is then may be said, as to a search that would vary it.
    settled("data=folder", f"data.root={tmp_path}", "loss.lambda_bce=0", "loss.cancer_weight=1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data.classes.benign=[Benign,Odd]"], "several of them, or null for none, but got 'Odd'"),
        (["data=embeddings", "data.classes.names=null"], "data=embeddings takes its classes from"),
        (["data=folder", "data.classes.names=[a,b]", "data.labels={x: a}"], "set data.pattern too"),
        (["data=folder", "data.classes.names=[a,b]", "data.pattern=x"], "a group (?P<label>...)"),
    ],
)
def test_what_cannot_be_is_one_line(words, told):
    with pytest.raises(UserError) as raised:
        build_layout(settled(*words))
    assert told in str(raised.value)


def test_a_pattern_is_typed_as_it_is():
    pattern = r"(?:a|b)/(?P<label>\w+)_(?P<patient>H?\d+)[^/]*\.jpg$"
    cfg = composed("data=folder", f"data.pattern={pattern}")
    assert cfg.data.pattern == pattern
    assert build_layout(cfg).relates == "patient"
    words = [r"data.pattern=Im\d+_(?P<label>[01])\.jpg", "data.labels={0: healthy, 1: ALL}"]
    layout = build_layout(composed("data=folder", *words))
    assert layout.read("Im001_1.jpg") == ("ALL", "")
    assert layout.relates is None


def people(manifest, rows):
    return {manifest.related[row] for row in rows}


@pytest.mark.parametrize(
    "split", [[], ["split=stratified"], ["split=kfold", "split.folds=4", "split.fold=1"]]
)
def test_c_nmc_keeps_people_whole(tmp_path, split):
    root = paint_cnmc(tmp_path / "C-NMC_training_data")
    cfg, data = opened(tmp_path, "data=cnmc", f"data.root={root}", *split)
    assert cfg.split.name == (split[0].partition("=")[2] if split else "grouped")
    assert build_classes(cfg).names == ("hem", "all")
    assert build_classes(cfg).benign == "hem"
    manifest, parts = data.manifest, data.split.parts
    assert len(manifest) == 48
    assert len(set(manifest.related)) == 16  # H1 is not patient 1
    for part in PARTS:
        others = [row for other in PARTS if other != part for row in parts[other]]
        assert not people(manifest, parts[part]) & people(manifest, others)
    assert len(set(data.split.groups.tolist())) == 16


def test_a_table_of_groups_wins_over_names(tmp_path):
    root = paint_cnmc(tmp_path / "data", people=6)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.bmp"))
    table = tmp_path / "groups.csv"
    table.write_text("file,group\n" + "".join(f"{file},{file}\n" for file in files))
    words = ["data=cnmc", f"data.root={root}", f"data.groups={table}", "split=stratified"]
    _, data = opened(tmp_path, *words)
    assert len(set(data.split.groups.tolist())) == len(files) == 36


@pytest.mark.parametrize("inner", ["", "im"])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_all_idb_tells_the_class_by_the_last_digit(tmp_path, inner, suffix):
    root = paint_idb(tmp_path / "ALL_IDB1", 5, suffix=suffix)
    cfg, data = opened(tmp_path, "data=all_idb", f"data.root={root / inner}")
    assert build_classes(cfg).names == ("healthy", "ALL")
    for file, label in zip(data.manifest.files, data.manifest.labels, strict=True):
        assert file.endswith(f"_{label}{suffix}")
    assert np.bincount(data.manifest.labels).tolist() == [5, 5]
    assert data.manifest.related == ()


def test_all_idb_refuses_both_of_its_parts_at_once(tmp_path):
    for part in ("ALL_IDB1", "ALL_IDB2"):
        paint_idb(tmp_path / part, 2)
    with pytest.raises(UserError, match="8 files do not match the pattern"):
        opened(tmp_path, "data=all_idb", f"data.root={tmp_path}")


def test_pbc_has_eight_classes_and_none_benign(tmp_path):
    root = paint_folders(tmp_path / "pbc", EIGHT, 5, file="BA_{i:06d}.jpg")
    (root / "neutrophil" / ".DS_169665.jpg").write_bytes(b"hidden")
    (root / "ig" / "Thumbs.db").write_bytes(b"no image")
    cfg, data = opened(tmp_path, "data=pbc", f"data.root={root}")
    assert build_classes(cfg).names == EIGHT
    assert not build_classes(cfg).has_cancer
    assert np.bincount(data.manifest.labels).tolist() == [5] * 8


def test_raabin_keeps_the_cells_of_a_photograph_together(tmp_path):
    root = paint_raabin(tmp_path / "raabin")
    cfg, data = opened(tmp_path, "data=raabin", f"data.root={root / 'Train'}")
    assert build_classes(cfg).names == FIVE
    assert build_layout(cfg).relates == "group"
    assert len(data.manifest) == 50
    assert set(data.manifest.related) == {f"20190510_{photo:06d}" for photo in range(5)}
    with pytest.raises(UserError, match="do not match the pattern"):
        opened(tmp_path, "data=raabin", f"data.root={root}")
