"""A node with a `_target_` becomes an object; a stranger's names only so much."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from leukemia.errors import UserError
from leukemia.settings.objects import check_trusted, make, of_conf
from tests.commands import run_here

HERE = __name__


@dataclass
class Box:
    width: int
    depth: int = 1
    given: object = None


def node(**values: object):
    return OmegaConf.create({"_target_": f"{HERE}.Box", **values})


def test_what_the_code_has_to_give_is_handed_over_where_it_is_asked_for():
    weight = torch.nn.Parameter(torch.ones(2))
    made = make(node(width=2), "box", Box, given=weight, unknown=3, depth=4)
    assert (made.width, made.depth) == (2, 4)
    assert made.given is weight  # itself, and no copy
    assert make(node(width=2, depth=9), "box", Box, depth=4).depth == 9
    assert make(node(width=2, _partial_=True), "box", Box, depth=4) == Box(2, 4)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"width": 1, "dept": 2}, "no setting box.dept.*Did you mean box.depth"),
        ({}, "box lacks width"),
        ({"width": 1, "_target_": "nowhere.Box"}, r"box\._target_=nowhere\.Box cannot be imported"),
        ({"width": 1, "_target_": None}, "to name a class, but got None"),
        ({"_target_": "math.pi"}, "to name a class"),
        ({"_target_": "collections.OrderedDict"}, "makes a OrderedDict"),
        ({"_target_": "torch.nn.Linear", "in_features": -1, "out_features": 1}, "box cannot be"),
    ],
)
def test_what_cannot_be_made_is_one_line(values: dict[str, object], told: str):
    with pytest.raises(UserError, match=told):
        make(OmegaConf.create({"_target_": f"{HERE}.Box", **values}), "box", Box)


HOSTILE = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.os.system",
    "torch.hub.load",
    "torch.load",
    "torch.utils.cpp_extension.subprocess.Popen",
    "torch.utils.tensorboard.SummaryWriter",
    "lightning.pytorch.trainer.trainer.os.system",
    "leukemia.disk.remove",
    "leukemia.data.cache.remove",
    "leukemia.data.split.parts.write_split",
    "leukemia.data.files.manifest.ThreadPoolExecutor",
    "leukemia.data..image",
    "leukemia.data.cache.open_pixels; x",
    "torchvision",
    "",
    5,
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "place", ["model", "model.head", "callbacks.one", "augment.spec.transforms.0"]
)
def test_a_stranger_s_settings_name_no_class_of_their_choosing(name: object, place: str):
    values: object = {"_target_": name, "path": "x"}
    for key in reversed(place.split(".")):
        values = [values] if key == "0" else {key: values}
    with pytest.raises(UserError, match="trust=true"):
        check_trusted(OmegaConf.create(values), "run")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(name for name in of_conf() if name != "None"),
        "torch.nn.Linear",
        "torch.optim.lr_scheduler.OneCycleLR",
        "torchvision.models.ResNet",
        "torchmetrics.Accuracy",
        "lightning.pytorch.callbacks.Timer",
        "albumentations.Compose",
        "leukemia.models.head.ResidualHead",
    ],
)
def test_what_models_and_data_are_made_of_may_be_named(name: str):
    check_trusted(OmegaConf.create({"model": {"_target_": name}}), "run")


def test_a_hostile_run_is_opened_by_no_verb(tmp_path: Path):
    run, mark = tmp_path / "run", tmp_path / "mark"
    run.mkdir()
    groups = ("data", "split", "stain", "mask", "crop", "augment", "model", "stage", "loss")
    hostile = {"_target_": "os.mkdir", "path": str(mark)}
    plain = {name: {} for name in ("schedule", "trainer", "runtime", "report")}
    cfg = {name: hostile for name in groups} | plain
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(cfg)))
    image = tmp_path / "a.png"
    image.write_bytes(b"")
    for verb, words in {
        "train": [f"resume={run}"],
        "evaluate": [f"run={run}"],
        "predict": [f"run={run}", f"input={image}"],
        "explain": [f"run={run}", f"input={image}"],
    }.items():
        done = run_here(verb, *words, cache=tmp_path, cwd=tmp_path)
        assert done.returncode == 2, verb
        assert "trust=true" in done.stderr
        assert not mark.exists()
