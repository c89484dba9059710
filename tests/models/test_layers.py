"""Embeddings from inside a network."""

import numpy as np
import pytest
import torch
from torchvision import models
from torchvision.transforms.v2.functional import resize

from leukemia.errors import UserError
from leukemia.models.backbone import WithMagenta
from leukemia.models.explanation import grad_cam, last_map
from leukemia.models.head import LinearHead
from leukemia.models.network import Network, Normalize
from tests.models.built import built

LAYERS = ["layer1", "layer2", "layer3"]


def test_the_embedding_is_mean_and_deviation_of_each_map_as_a_hook_sees_it():
    torch.manual_seed(3)
    whole = models.resnet18(weights=None).eval()
    torch.manual_seed(3)
    backbone, said = built("resnet18", None, size=64, layers=LAYERS)
    assert said == "resnet18: random weights"
    seen: dict[str, torch.Tensor] = {}
    for name in LAYERS:
        getattr(whole, name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out})
        )
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole(images)
        found = backbone.eval()(images)
    flat = [seen[name].flatten(2) for name in LAYERS]
    expected = [part for each in flat for part in (each.mean(2), each.std(2, unbiased=False))]
    assert backbone.embed_dim == 2 * (64 + 128 + 256)
    torch.testing.assert_close(found, torch.cat(expected, 1), rtol=1e-3, atol=2e-3)


def test_what_comes_after_the_last_layer_is_neither_there_nor_missing(tmp_path):
    state = models.resnet18(weights=None).state_dict()
    kept = {k: v for k, v in state.items() if not k.startswith(("layer4", "fc"))}
    torch.save(kept, tmp_path / "partial.pth")
    backbone, said = built("resnet18", str(tmp_path / "partial.pth"), size=64, layers=["layer3"])
    assert said == "resnet18: 90 of 90 tensors loaded from partial.pth"
    assert not any("layer4" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize(
    ("name", "layers", "size"), [("vgg16", ["features.4", "features.30"], 2 * (64 + 512))]
)
def test_a_layer_inside_of_a_sequence_can_be_named(name, layers, size):
    assert built(name, None, size=64, layers=layers)[0].embed_dim == size


@pytest.mark.parametrize("layers", [[], ["layer9"], ["layer1", "layer1"], ["layer"], [3]])
def test_layers_that_cannot_be_are_refused(layers):
    with pytest.raises(UserError, match=r"model\.backbone\.layers.*resnet18.*layer1, layer2") as e:
        built("resnet18", None, size=64, layers=layers)
    assert str([str(layer) for layer in layers]) in str(e.value)


@pytest.mark.parametrize(
    ("layers", "told"),
    [("layer1", "got layer1"), (3, "got 3"), (["layer1", "flatten"], "maps over the image")],
)
def test_what_is_no_list_of_maps_is_refused(layers, told):
    with pytest.raises(UserError, match=rf"model\.backbone\.layers.*{told}"):
        built("resnet18", None, size=64, layers=layers)


def test_gradients_are_finite_on_a_blank_image_and_reach_the_first_layer():
    backbone, _ = built("resnet18", None, size=64, layers=LAYERS)
    backbone.eval()(torch.zeros(2, 3, 64, 64)).sum().backward()
    gradient = backbone.body.maps.conv1.weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()


@pytest.mark.parametrize("attend", [None, "magenta"])
def test_the_last_layer_named_has_the_grad_cam(attend):
    torch.manual_seed(0)
    backbone, _ = built("resnet18", None, size=64, layers=LAYERS, attend=attend)
    normalize = WithMagenta(Normalize()) if attend else Normalize()
    network = Network(normalize, backbone, LinearHead(backbone.embed_dim)).eval()
    layer = last_map(network, 64)
    shapes: list[torch.Size] = []
    layer.register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    image = torch.randint(0, 256, (3, 64, 64))
    maps = torch.stack([grad_cam(network, layer, image, [target]) for target in range(4)])
    assert shapes[0][1:] == (256, 4, 4)
    assert maps.shape == (4, 64, 64)
    assert maps.max() > 0


def test_magenta_weights_follow_colour_and_not_light_and_are_none_without_colour():
    torch.manual_seed(0)
    pixels = torch.full((1, 3, 64, 64), 200.0)
    pixels[:, :, :32, :32] = torch.tensor([120.0, 40.0, 140.0]).reshape(1, 3, 1, 1)  # a nucleus
    pixels[:, :, 32:, :32] = torch.tensor([90.0, 90.0, 90.0]).reshape(1, 3, 1, 1)  # dark, no stain
    weigh = WithMagenta(Normalize())
    found = weigh(pixels)
    torch.testing.assert_close(found[:, :3], Normalize()(pixels))
    weights = found[0, 3]
    # (R + B) / 2 - G is 90 in a quarter and 0 elsewhere: the mean 22.5, the deviation 38.97.
    assert weights[:32, :32].unique().tolist() == pytest.approx([(90 - 22.5) / 38.97], rel=1e-3)
    assert weights[32:].max() == weights[:, 32:].max() == 0
    torch.testing.assert_close(weigh(pixels * 0.7)[0, 3], weights)
    assert weigh(torch.rand(2, 1, 64, 64).expand(2, 3, 64, 64) * 255)[:, 3].max() < 0.01


def test_attending_adds_the_weighted_mean_and_deviation_of_each_map_after_its_own():
    plain, _ = built("resnet18", None, size=64, layers=LAYERS)
    both, _ = built("resnet18", None, size=64, layers=LAYERS, attend="magenta")
    both.load_state_dict(plain.state_dict())
    plain.eval(), both.eval()
    images, weights = torch.randn(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    weights[1] = 0  # nothing is magenta: every pixel counts alike
    with torch.no_grad():
        found = both(torch.cat([images, weights], 1))
        expected = plain(images)
        maps = plain.body.maps(images)
    assert both.embed_dim == 2 * plain.embed_dim == found.shape[1]
    start = 0
    for name, side, k in (("layer1", 16, 64), ("layer2", 8, 128), ("layer3", 4, 256)):
        step = 64 // side
        part, own = found[:, 2 * start : 2 * start + 4 * k], expected[:, start : start + 2 * k]
        torch.testing.assert_close(part[:, : 2 * k], own)
        torch.testing.assert_close(part[1, 2 * k :], own[1])
        cells = weights[0, 0].reshape(side, step, side, step).mean((1, 3)).flatten().double()
        values = maps[name][0].flatten(1).double().numpy()
        mean = np.average(values, axis=1, weights=cells)
        variance = np.average((values - mean[:, None]) ** 2, axis=1, weights=cells)
        np.testing.assert_allclose(part[0, 2 * k : 3 * k], mean, rtol=0.01, atol=2e-3)
        np.testing.assert_allclose(part[0, 3 * k :], np.sqrt(variance), rtol=0.01, atol=2e-3)
        start += 2 * k


@pytest.mark.parametrize(
    ("layers", "attend", "told"),
    [
        (None, "magenta", "attend=magenta weighs the maps of layers.*layers is null"),
        (LAYERS, "nuclei", "attend to be one of null, magenta, but got 'nuclei'"),
        (LAYERS, 3, "attend to be one of null, magenta, but got 3"),
    ],
)
def test_what_cannot_be_attended_to_is_refused(layers, attend, told):
    with pytest.raises(UserError, match=rf"model\.backbone\.{told}"):
        built("resnet18", None, size=64, layers=layers, attend=attend)


@pytest.mark.parametrize("side", [48, 96])
def test_a_network_sees_images_at_the_side_they_are_resized_to(side):
    plain, _ = built("resnet18", None, size=64, layers=LAYERS, attend="magenta")
    other, _ = built("resnet18", None, size=64, layers=LAYERS, attend="magenta", resize=side)
    other.load_state_dict(plain.state_dict())
    images = torch.rand(2, 4, 64, 64)
    with torch.no_grad():
        found = other.eval()(images)
        expected = plain.eval()(resize(images, [side, side], antialias=True))
    assert other.embed_dim == plain.embed_dim
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [0, -3, 96.5, "large", True])
def test_what_is_no_side_to_resize_to_is_refused(side):
    with pytest.raises(UserError, match=r"model\.backbone\.resize to be a whole number from 1 on"):
        built("resnet18", None, size=64, resize=side)


def test_a_side_that_a_network_cannot_take_is_told_by_the_setting_that_made_it():
    with pytest.raises(UserError, match=r"8 x 8 pixels.*another model\.backbone\.resize"):
        built("alexnet", None, size=64, resize=8)
