"""Maps point to what a network was built to look at, and equal what is computed by hand."""

import numpy as np
import pytest
import torch
from scipy.special import logit, softmax
from torch import nn

from leukemia.errors import UserError
from leukemia.models.backbone import BaselineCNN
from leukemia.models.explanation import grad_cam, last_map, log_odds, occlusion
from leukemia.models.network import Network, Normalize
from tests.models.built import built

SIZE = 32


def colour_network() -> Network:
    """Two classes: how red the brightest places are, and how blue."""
    convolution = nn.Conv2d(3, 2, kernel_size=3, padding=1)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, :, 1, 1] = torch.tensor([1.0, -1.0, -1.0])
        convolution.weight[1, :, 1, 1] = torch.tensor([-1.0, -1.0, 1.0])
        convolution.bias.zero_()
    body = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(Normalize("none"), body, nn.Identity()).eval()


def cue() -> torch.Tensor:
    """A white image with a red square in the upper left and a blue one in the lower right."""
    image = torch.full((3, SIZE, SIZE), 255, dtype=torch.uint8)
    image[1:, :8, :8] = 0
    image[:2, -8:, -8:] = 0
    return image


def share(found: torch.Tensor, rows: slice, columns: slice) -> float:
    positive = found.clamp(min=0)
    return float(positive[rows, columns].sum() / positive.sum())


RED, BLUE = (slice(0, 8), slice(0, 8)), (slice(-8, None), slice(-8, None))


@pytest.mark.parametrize(("target", "place", "other"), [(0, RED, BLUE), (1, BLUE, RED)])
def test_both_maps_lie_on_the_planted_cue_of_the_class(target, place, other):
    network = colour_network()
    by_gradient = grad_cam(network, last_map(network, SIZE), cue(), (target,))
    by_covering = occlusion(network, cue(), (target,), fill=(255, 255, 255), patch=8, stride=8)
    for found in (by_gradient, by_covering):
        assert found.shape == (SIZE, SIZE)
        assert share(found, *place) > 0.999
        assert share(found, *other) < 1e-6


def test_a_cue_against_the_class_is_negative_in_occlusion_and_absent_from_grad_cam():
    network = colour_network()
    found = occlusion(network, cue(), (0,), fill=(255, 255, 255), patch=8, stride=8)
    assert found[BLUE].max() < 0
    assert grad_cam(network, last_map(network, SIZE), cue(), (0,)).min() == 0


class Linear(nn.Module):
    """Two logits: w . x and 0, so that the log-odds of class 0 are w . x."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = (images * self.weight).sum((1, 2, 3))
        return torch.stack([first, torch.zeros_like(first)], 1)


@pytest.mark.parametrize(("patch", "stride"), [(4, 4), (5, 3), (4, 3), (7, 7), (16, 16)])
def test_occlusion_of_a_linear_network_is_what_the_patch_held(patch, stride):
    side = 16
    weight = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    image = torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(1))
    fill = (10.0, 100.0, 200.0)
    network = Network(nn.Identity(), Linear(weight), nn.Identity())
    found = occlusion(network, image, (0,), fill=fill, patch=patch, stride=stride)

    difference = weight.numpy() * (image.numpy() - np.reshape(fill, (3, 1, 1)))
    total, covered = np.zeros((side, side)), np.zeros((side, side))
    starts = range(0, max(side - patch, 0) + stride, stride)
    for top in starts:
        for left in starts:
            window = (slice(top, top + patch), slice(left, left + patch))
            total[window] += difference[:, *window].sum()
            covered[window] += 1
    np.testing.assert_allclose(found, total / covered, rtol=1e-4, atol=0.01)


def test_log_odds_are_those_of_the_softmax():
    logits = np.random.default_rng(0).normal(size=(5, 4))
    p = softmax(logits, axis=1)
    for target in ((1,), (1, 2, 3)):
        found = log_odds(torch.from_numpy(logits), target)
        np.testing.assert_allclose(found, logit(p[:, list(target)].sum(1)))


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("resnet18", 64, "layer4"),
        ("alexnet", 224, "features"),
        ("densenet121", 64, "features"),
        ("mobilenet_v3_small", 64, "features"),
        ("squeezenet1_1", 64, "features"),
        ("swin_t", 64, "permute"),
    ],
)
def test_the_last_map_of_a_backbone_is_found_and_gives_a_map(name, size, layer):
    torch.manual_seed(0)
    backbone, _ = built(name, None, size=size)
    network = Network(Normalize(), backbone, nn.Linear(backbone.embed_dim, 4)).eval()
    found = last_map(network, size)
    assert found is backbone.body.get_submodule(layer)
    image = torch.randint(0, 256, (3, size, size), dtype=torch.uint8)
    heat = grad_cam(network, found, image, (0,))
    assert heat.shape == (size, size)
    assert bool(heat.isfinite().all())
    assert heat.min() >= 0


def test_the_baseline_has_a_map_too():
    network = Network(Normalize(), BaselineCNN(), nn.Identity()).eval()
    assert last_map(network, 224) is network.backbone.features


def test_a_small_image_has_its_map_further_up():
    backbone, _ = built("resnet18", None, size=32)
    network = Network(Normalize(), backbone, nn.Linear(512, 4)).eval()
    assert last_map(network, 32) is backbone.body.layer3


def test_a_network_without_maps_is_refused():
    network = Network(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), nn.Identity())
    with pytest.raises(UserError, match="no map of features"):
        last_map(network, 2)


def test_weights_and_modes_stay_as_they_were():
    network = colour_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    grad_cam(network, last_map(network, SIZE), cue(), (0,))
    assert all(bool((before[key] == value).all()) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())
