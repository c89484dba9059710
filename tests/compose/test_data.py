"""`split=` and `data.groups`, from the settings to parts, over random manifests."""

import csv
import io
import re
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import hydra
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from leukemia.cli import CONF
from leukemia.compose.data import build_data, build_splitter
from leukemia.data.split.groups import identical_groups
from leukemia.data.split.guard import check_split
from leukemia.data.split.parts import PARTS
from leukemia.errors import UserError
from tests.data.samples import assert_disjoint, by_file, counts, imbalance, numbered, related_images


@lru_cache
def composed(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", ["data.classes.names=[Benign,Early]", *overrides])


def configured(*overrides):
    return deepcopy(composed(*overrides))


def made(cfg, manifest):
    split = build_splitter(cfg)(manifest, identical_groups(manifest.sha256))
    return check_split(split, manifest)


def write(path: Path, column: str, files, cells) -> Path:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("file", column), *zip(files, cells, strict=True)])
    path.write_text(buffer.getvalue())
    return path


KEEP_GROUPS = [
    ["split=stratified"],
    ["split=grouped"],
    ["split=kfold", "split.folds=3", "split.fold=0"],
    ["split=kfold", "split.folds=4", "split.fold=3"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("groups")


@pytest.mark.parametrize("protocol", KEEP_GROUPS, ids=" ".join)
@settings(deadline=None, max_examples=10)
@given(data=st.data(), seed=st.integers(0, 3), balanced=st.booleans())
def test_parts_share_no_file_no_hash_and_no_group(folder, protocol, data, seed, balanced):
    manifest, names = data.draw(related_images(mixed=protocol != ["split=stratified"]))
    table = write(folder / "groups.csv", "group", manifest.files, names)
    cfg = configured(*protocol, f"data.groups='{table}'", f"seed={seed}")
    split = made(cfg, manifest)
    assert_disjoint(manifest, split)
    for part in PARTS:
        other = [row for p in PARTS if p != part for row in split.parts[p]]
        assert not {names[row] for row in split.parts[part]} & {names[row] for row in other}
    used = by_file(manifest, split)
    assert set(used) == set(manifest.files)
    assert split.warnings == ()

    assert by_file(manifest, made(cfg, manifest)) == used
    order = np.random.default_rng(seed).permutation(len(manifest))
    assert by_file(manifest.take(order), made(cfg, manifest.take(order))) == used

    cfg.data.balance = balanced
    if balanced:
        kept = made(cfg, manifest)
        assert_disjoint(manifest, kept)
        for n in counts(manifest, kept).values():
            assert n[0] == n[1] > 0


@settings(deadline=None, max_examples=10)
@given(related=related_images(mixed=False), seed=st.integers(0, 3))
def test_solved_parts_are_as_balanced_as_drawn_ones(folder, related, seed):
    manifest, names = related
    table = write(folder / "groups.csv", "group", manifest.files, names)
    found = {}
    for name in ("stratified", "grouped"):
        cfg = configured(f"split={name}", f"data.groups='{table}'", f"seed={seed}")
        found[name] = np.array(list(counts(manifest, made(cfg, manifest)).values()))
    if found["stratified"].min() > 0:
        drawn, solved = (imbalance(n, [0.6, 0.2, 0.2]) for n in found.values())
        assert solved <= drawn + 0.01


@settings(deadline=None, max_examples=10)
@given(related=related_images(), seed=st.integers(0, 3), validation=st.sampled_from(["1", "2"]))
def test_the_paper_split_warns_of_groups_that_cross_it(folder, related, seed, validation):
    manifest, names = related
    table = write(folder / "groups.csv", "group", manifest.files, names)
    plain = configured("split=paper", "split.n_val=2", f"seed={seed}")
    told = configured("split=paper", "split.n_val=2", f"seed={seed}", f"data.groups='{table}'")
    try:
        split = made(plain, manifest)
    except UserError:  # so many copies that a class has no validation image left
        reject()
    assert_disjoint(manifest, split)
    with_groups = made(told, manifest)
    # The parts are those of the published protocol, whatever the groups say.
    assert by_file(manifest, with_groups) == by_file(manifest, split)
    of = with_groups.groups
    crossing = {g for g in of if sum(g in set(of[rows]) for rows in with_groups.parts.values()) > 1}
    assert len(with_groups.warnings) == bool(crossing)
    if crossing:
        assert f"{len(crossing)} groups of related images" in with_groups.warnings[0]


@settings(deadline=None, max_examples=10)
@given(related=related_images(), seed=st.integers(0, 9))
def test_a_table_of_parts_is_taken_as_it_is_or_refused_for_its_leak(folder, related, seed):
    manifest, names = related
    groups = write(folder / "groups.csv", "group", manifest.files, names)
    drawn = np.random.default_rng(seed).choice(PARTS, len(manifest))
    table = write(folder / "parts.csv", "part", manifest.files, drawn)
    cfg = configured("split=file", f"split.file='{table}'", f"data.groups='{groups}'")
    by_key = {}
    for keys in (manifest.sha256, names):
        for key, part in zip(keys, drawn, strict=True):
            by_key.setdefault(key, set()).add(part)
    # Own images are never empty in number, so only leaks and absent classes are refused.
    if any(len(parts) > 1 for parts in by_key.values()):
        with pytest.raises(UserError, match=r"share no (sha256|group).*\((train|val)\) and '"):
            made(cfg, manifest)
        return
    try:
        split = made(cfg, manifest)
    except UserError as error:
        assert "every" in str(error)  # noqa: PT017 - an example that cannot be split
        reject()
    assert by_file(manifest, split) == dict(zip(manifest.files, drawn, strict=True))


def test_grouped_without_groups_names_the_audit():
    with pytest.raises(UserError, match=r"data.groups=.*python -m leukemia.audit"):
        build_splitter(configured("split=grouped"))


def test_a_file_split_needs_its_file():
    with pytest.raises(UserError, match=r"split.file="):
        build_splitter(configured("split=file"))


def test_an_unknown_split_is_named():
    with pytest.raises(UserError, match=r"split\._target_=nowhere\.Split cannot be imported"):
        build_splitter(configured("split=stratified", "split._target_=nowhere.Split"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("augment.spec.blur_sigma=1.0", "augment.spec.blur_sigma to be two numbers above 0"),
        ("mask.background=dark", "Expected mask.background to be between 0"),
    ],
)
def test_a_mistake_is_told_before_an_image_is_looked_for(override, told):
    with pytest.raises(UserError, match=re.escape(told)):
        build_data(configured("data.root=nowhere", override))


@pytest.mark.parametrize("name", ["stratified", "grouped", "leaky"])
@pytest.mark.parametrize("fractions", ["0.6", "null", "most", "[0.6,0.4]"])
def test_fractions_that_are_no_three_numbers_are_named(tmp_path, name, fractions):
    manifest = numbered(10)
    table = write(tmp_path / "groups.csv", "group", manifest.files, range(20))
    cfg = configured(f"split={name}", f"split.fractions={fractions}", f"data.groups='{table}'")
    cfg.data.groups = None if name == "leaky" else cfg.data.groups
    with pytest.raises(UserError, match=r"split\.fractions to be three numbers"):
        made(cfg, manifest)


def test_embeddings_have_no_views_to_pool(tmp_path):
    cfg = configured("data=embeddings", f"data.file={tmp_path}/e.npz", "split=leaky")
    with pytest.raises(UserError, match="split=leaky pools views of images"):
        build_data(cfg)


def test_stratified_parts_are_as_before_where_there_are_no_groups():
    manifest = numbered(50)
    found = counts(manifest, made(configured("split=stratified"), manifest))
    assert found == {"train": [30, 30], "val": [10, 10], "test": [10, 10]}
