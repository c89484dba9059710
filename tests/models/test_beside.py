import pytest
import torch
from torch import nn

from leukemia.errors import UserError
from leukemia.models.backbone import PooledLayers
from leukemia.models.discriminant import CorrectedHead
from leukemia.models.embedding import PlainAndMasked, WithMasked, upper_of
from leukemia.models.network import Network, Normalize
from tests.models.built import built

# Three grey pixels and a magenta one: (R + B) / 2 - G is 0, 0, 0 and 80; mean 20, deviation 34.64.
PIXELS = torch.tensor(
    [[[[100.0, 100.0, 100.0, 180.0]], [[100.0] * 4], [[100.0, 100.0, 100.0, 180.0]]]]
)


def test_what_is_not_magenta_keeps_so_much_of_its_brightness():
    found = WithMasked(nn.Identity(), 0.25)(PIXELS)
    assert found.shape == (1, 7, 1, 4)
    assert torch.equal(found[:, :3], PIXELS)
    # 60 / 34.64 deviations above the mean: more than one, so it keeps all.
    torch.testing.assert_close(found[0, 3, 0], torch.tensor([0.0, 0.0, 0.0, 3**0.5]))
    masked = torch.tensor([[25.0, 25.0, 25.0, 180.0], [25.0, 25.0, 25.0, 100.0]])
    torch.testing.assert_close(found[0, 4:, 0], masked[[0, 1, 0]])


def test_the_mask_is_the_same_at_three_quarters_of_the_brightness():
    network = WithMasked(nn.Identity(), 0.0)
    bright, dark = network(PIXELS), network(PIXELS * 0.75)
    torch.testing.assert_close(dark[:, 3], bright[:, 3])
    torch.testing.assert_close(dark[:, 4:], bright[:, 4:] * 0.75)


def test_the_embedding_is_the_plain_one_and_then_the_upper_layer_of_the_masked_image():
    class Double(nn.Module):
        def forward(self, images):
            return {"layer3": images * 2}

    body = PlainAndMasked(PooledLayers(Double()), nn.Identity(), side=2)
    images = torch.cat([torch.full((1, 4, 2, 2), 3.0), torch.full((1, 3, 2, 2), 5.0)], 1)
    found = body(images)[0]
    # Means of the plain maps, their deviations (0 but for what keeps the root finite), and the
    # means of the masked ones.
    torch.testing.assert_close(found[:3], torch.full((3,), 6.0))
    torch.testing.assert_close(found[3:6], torch.full((3,), 1e-3), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[6:], torch.full((3,), 10.0))


def test_a_resnet_has_its_three_layers_twice_pooled_and_its_fourth_beside_them():
    torch.manual_seed(0)
    layers = ["layer1", "layer2", "layer3"]
    backbone, _ = built("resnet18", None, size=64, layers=layers, attend="magenta", masked=True)
    assert backbone.embed_dim == 4 * (64 + 128 + 256) + 512
    names = [name for name, _ in backbone.named_parameters() if "layer4" in name]
    assert len(names) == 15  # five convolutions, weights and biases of five norms


def test_layer4_and_the_head_on_what_lies_below_are_the_whole_network():
    torch.manual_seed(0)
    layers = ["layer1", "layer2", "layer3"]
    backbone, _ = built("resnet18", None, size=64, layers=layers, attend="magenta", masked=True)
    assert backbone.plain_dim == 1792
    head = CorrectedHead(backbone.embed_dim, plain_dim=backbone.plain_dim)
    network = Network(WithMasked(Normalize("imagenet"), 0.3), backbone, head).eval()
    below, above = upper_of(network.backbone, network.head)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        plain = network.embed(pixels)[:, : above.plain_dim]
        rows = torch.cat([plain, below(network.normalize(pixels))], 1)
        assert rows.shape == (2, 1792 + 256 * 4 * 4)
        torch.testing.assert_close(above(rows), network(pixels))
    # The weights are shared: what is trained above is trained in the network.
    assert above.layer4 is network.backbone.body.layer4


def test_a_network_without_a_masked_image_has_no_such_parts():
    backbone, _ = built("resnet18", None, size=64)
    with pytest.raises(UserError, match=r"stage\.finetune\.upper=true.*use mask=beside"):
        upper_of(backbone, nn.Identity())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"attend": None}, "mask.beside goes with model.backbone.attend=magenta"),
        ({"name": "alexnet", "layers": ["features"]}, "layer4 of a ResNet.*alexnet"),
        ({}, r"end with layer3, but got \["),
    ],
)
def test_what_has_no_place_for_a_masked_image_is_refused(change, says):
    settings = {"name": "resnet18", "layers": ["layer1"], "attend": "magenta"} | change
    with pytest.raises(UserError, match=says):
        built(weights=None, masked=True, **settings)


def test_a_share_of_brightness_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"mask\.beside.*in \[0, 1\].*1\.5"):
        WithMasked(nn.Identity(), 1.5)
