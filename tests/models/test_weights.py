"""Weights of a backbone: whole, partial, downloaded, or refused."""

import urllib.error
from email.message import Message

import pytest
import torch
from torch import nn
from torchvision import models

from leukemia.errors import UserError
from tests.models.built import built

PARTIAL = "resnet18_imagenet_through_layer3.pth"


def without_classifier(name="resnet18", seed=1):
    torch.manual_seed(seed)
    state = models.get_model(name, weights=None).state_dict()
    return {key: value for key, value in state.items() if not key.startswith(("fc", "classifier"))}


@pytest.fixture
def saved(tmp_path):
    def save(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """An empty cache of torchvision's weights, on a machine without network."""

    def refuse(*_):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_a_whole_file_is_loaded_and_its_classifier_ignored(saved):
    torch.manual_seed(1)
    state = models.resnet18(weights=None).state_dict()
    backbone, said = built("resnet18", saved(state), size=32)
    assert said == "resnet18: 120 of 120 tensors loaded from weights.pth"
    for key, value in backbone.body.state_dict().items():
        assert torch.equal(value, state[key])


def test_a_partial_file_says_what_is_missing_which_stays_random(saved):
    state = {
        key: value
        for key, value in without_classifier().items()
        if not key.startswith(("layer4", "layer2.0.conv1"))
    }
    file = saved({"state_dict": state, "epoch": 3})
    torch.manual_seed(5)
    backbone, said = built("resnet18", file, size=32)
    assert said == (
        "resnet18: 89 of 120 tensors loaded from weights.pth; "
        "missing and so random: layer2.0.conv1, layer4"
    )
    torch.manual_seed(5)
    random = built("resnet18", None, size=32)[0].body
    assert torch.equal(backbone.body.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    assert torch.equal(backbone.body.layer4[0].conv1.weight, random.layer4[0].conv1.weight)


def test_a_tensor_of_another_shape_is_named_and_stays_random(saved):
    state = without_classifier() | {"conv1.weight": torch.zeros(64, 1, 7, 7)}
    backbone, said = built("resnet18", saved(state), size=32)
    assert said == (
        "resnet18: 119 of 120 tensors loaded from weights.pth; of another shape and so random: "
        "conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7)"
    )
    assert backbone.body.conv1.weight.shape == (64, 3, 7, 7)


def test_tensors_that_the_network_lacks_are_named(saved):
    state = without_classifier() | {"extra.weight": torch.zeros(1)}
    assert built("resnet18", saved(state), size=32)[1].endswith("; unused: extra.weight")


def test_a_file_without_batchnorms_counters_misses_nothing(saved):
    state = {k: v for k, v in without_classifier().items() if "num_batches" not in k}
    said = built("resnet18", saved(state), size=32)[1]
    assert said == "resnet18: 100 of 120 tensors loaded from weights.pth"


def test_densenets_older_names_are_understood(saved):
    state = without_classifier("densenet121")
    older = {
        key.replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): value
        for key, value in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    backbone, said = built("densenet121", saved(older), size=32)
    assert said == f"densenet121: {len(state)} of {len(state)} tensors loaded from weights.pth"
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(backbone.body.state_dict()[key], state[key])


def test_the_normalisation_that_convnext_keeps_is_loaded(saved):
    # A made-up file of two tensors: the stem's bias and the last normalisation's.
    state = {"features.0.0.bias": torch.ones(96), "classifier.0.bias": torch.full((768,), 3.0)}
    backbone, said = built("convnext_tiny", saved(state), size=32)
    assert said.startswith("convnext_tiny: 2 of ")
    assert torch.equal(backbone.body.state_dict()["classifier.0.bias"], torch.full((768,), 3.0))


def test_a_file_of_which_nothing_fits_is_refused(saved):
    file = saved({"fc.weight": torch.zeros(1000, 512), "other": torch.zeros(2)})
    with pytest.raises(UserError, match=r"nothing in weights\.pth fits.*'conv1\.weight'"):
        built("resnet18", file, size=32)


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 3}, {}, [1, 2], {3: "x"}])
def test_a_file_that_is_no_state_dict_is_refused(saved, content):
    with pytest.raises(UserError, match=r"model\.backbone\.weights.*not a state dict"):
        built("resnet18", saved(content), size=32)


def test_a_missing_file_is_refused_with_what_can_be_given(tmp_path):
    with pytest.raises(UserError, match=r"null, DEFAULT or a file.*no file '.*none\.pth'"):
        built("resnet18", str(tmp_path / "none.pth"), size=32)
    with pytest.raises(UserError, match=r"model\.backbone\.weights"):
        built("resnet18", str(tmp_path), size=32)  # a folder


def test_a_file_that_is_broken_or_holds_code_is_refused(saved, tmp_path):
    whole = (tmp_path / saved(without_classifier())).read_bytes()
    contents = {
        "empty.pth": b"",
        "text.pth": b"not weights at all",
        "cut.pth": whole[: len(whole) // 2],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    saved(nn.Linear(2, 2), "module.pth")
    for name in (*contents, "module.pth"):
        with pytest.raises(UserError, match=rf"model\.backbone\.weights: '.*{name}' is broken"):
            built("resnet18", str(tmp_path / name), size=32)


def test_default_weights_without_network_are_an_error_with_every_remedy(checkpoints):
    with pytest.raises(UserError) as caught:
        built("resnet18", "DEFAULT", size=32)
    said = str(caught.value)
    assert "model.backbone.weights=DEFAULT" in said
    assert "model.backbone.weights=null" in said
    assert "local file" in said
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in said
    assert "\n" not in said
    assert list(checkpoints.iterdir()) == []


class BrokenResponse:
    """A server that sends a little and then hangs up."""

    def __init__(self):
        self.chunks = iter([b"a little"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def info(self):
        return Message()

    def read(self, _):
        for chunk in self.chunks:
            return chunk
        raise ConnectionResetError


def test_a_download_that_breaks_off_leaves_nothing(checkpoints, monkeypatch):
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_: BrokenResponse())
    with pytest.raises(UserError, match=r"could not be downloaded \(ConnectionResetError\)"):
        built("resnet18", "DEFAULT", size=32)
    assert list(checkpoints.iterdir()) == []


def test_default_weights_come_from_the_cache(checkpoints):
    torch.manual_seed(1)
    state = models.resnet18(weights=None).state_dict()
    torch.save(state, checkpoints / "resnet18-f37072fd.pth")
    backbone, said = built("resnet18", "DEFAULT", size=32)
    assert said == "resnet18: 120 of 120 tensors loaded from torchvision's IMAGENET1K_V1"
    assert torch.equal(backbone.body.conv1.weight, state["conv1.weight"])


def test_default_weights_that_are_broken_or_partial_are_never_half_used(checkpoints):
    cached = checkpoints / "resnet18-f37072fd.pth"
    cached.write_bytes(b"cut")
    with pytest.raises(UserError, match="could not be read"):
        built("resnet18", "DEFAULT", size=32)
    state = without_classifier()
    del state["layer4.0.conv1.weight"]
    torch.save(state, cached)
    with pytest.raises(UserError, match=r"DEFAULT does not fit resnet18.*layer4\.0\.conv1"):
        built("resnet18", "DEFAULT", size=32)


def test_the_projects_partial_file_misses_layer4(aria):
    file = aria.parent.parent / "weights" / PARTIAL
    if not file.is_file():
        pytest.skip(f"no ../weights/{PARTIAL} beside LEUKEMIA_DATA")
    _, said = built("resnet18", str(file))
    assert said == (
        f"resnet18: 90 of 120 tensors loaded from {PARTIAL}; missing and so random: layer4"
    )
