"""Convolutions in 8-bit integers."""

import copy

import pytest
import torch
from torch import nn

from leukemia.models.head import LinearHead
from leukemia.models.int8 import IntegerConv, IntegerStem, in_integers, is_fast
from leukemia.models.network import Network, Normalize
from tests.models.built import built

pytestmark = pytest.mark.skipif(not is_fast(), reason="this processor has no 8-bit products")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def network(name: str, size: int = 64) -> Network:
    backbone, _ = built(name, None, size=size)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after a training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return Network(Normalize(), backbone, LinearHead(backbone.embed_dim)).eval()


def pictures(n: int = 6, size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 32, 3, padding=1),
        nn.Conv2d(16, 32, 1, stride=2, bias=False),
        nn.Conv2d(16, 32, (3, 5), padding="valid", dilation=2),
    ],
    ids=["3x3", "1x1", "dilated"],
)
@torch.inference_mode()
def test_a_convolution_in_integers_differs_by_less_than_a_hundredth(conv, dtype):
    inputs = torch.randn(3, 16, 20, 20).relu() * torch.tensor([0.01, 1, 300])[:, None, None, None]
    inputs = inputs.to(memory_format=torch.channels_last).to(dtype)
    exact = conv(inputs.float())
    found = IntegerConv(conv, dtype)(inputs)
    assert found.dtype == dtype
    for one, other in zip(found.float(), exact, strict=True):  # each image on its own scale
        assert (one - other).norm() < 0.01 * other.norm()


@torch.inference_mode()
def test_an_image_gets_the_same_answer_whatever_else_is_in_its_batch():
    conv = IntegerConv(nn.Conv2d(16, 32, 3, padding=1), torch.float32)
    inputs = torch.randn(4, 16, 20, 20).relu().to(memory_format=torch.channels_last)
    together = conv(inputs)
    louder = conv(torch.cat([inputs[:1], 50 * inputs[1:]]))
    torch.testing.assert_close(louder[0], together[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scheme", ["imagenet", "none"])
@torch.inference_mode()
def test_the_stem_takes_raw_pixels_and_its_border_is_the_convolution_s_own(scheme):
    conv, normalize = nn.Conv2d(3, 8, 7, stride=2, padding=3), Normalize(scheme)
    pixels = pictures()
    exact = conv(normalize(pixels))
    found = IntegerStem(normalize, conv, torch.float32)(pixels)
    assert (found - exact).norm() < 0.01 * exact.norm()
    assert (found - exact)[:, :, 0].norm() < 0.02 * exact[:, :, 0].norm()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
@torch.inference_mode()
def test_networks_of_rectified_convolutions_say_nearly_the_same(name):
    plain = network(name)
    before = copy.deepcopy(plain.state_dict())
    quick = in_integers(plain)
    assert quick is not None
    places = [module for module in quick.modules() if isinstance(module, IntegerConv)]
    assert len(places) > 5
    images = pictures()
    exact, found = plain(images), quick(images)
    assert (found - exact).norm() < 0.05 * exact.norm()
    for key, value in plain.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_networks_with_little_to_gain_are_left_alone(name):
    assert in_integers(network(name)) is None


def test_a_network_that_normalises_each_image_by_itself_is_left_alone():
    normal = network("resnet18")
    assert in_integers(normal) is not None
    normal.normalize = Normalize("image")
    assert in_integers(normal) is None


def test_a_network_that_cannot_be_traced_is_left_alone():
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    assert in_integers(Network(Normalize(), Odd(), nn.Identity()).eval()) is None
