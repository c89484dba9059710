import pytest
import torch
from torch import nn

from leukemia.errors import UserError
from leukemia.models.backbone import BaselineCNN


def test_images_become_one_logit_a_class():
    assert BaselineCNN()(torch.zeros(2, 3, 224, 224)).shape == (2, 4)
    assert BaselineCNN(n_classes=3)(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


def test_every_shape_is_the_papers():
    model, seen = BaselineCNN(), []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Flatten | nn.Linear):
            layer.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    model(torch.zeros(1, 3, 224, 224))
    assert seen == [
        (5, 220, 220),
        (5, 110, 110),
        (10, 106, 106),
        (10, 53, 53),
        (28090,),
        (32,),
        (4,),
    ]


@pytest.mark.parametrize("hidden", [32, 100])
def test_the_parameters_are_counted_in_closed_form(hidden):
    convolutions = (3 * 25 + 1) * 5 + (5 * 25 + 1) * 10
    linears = (10 * 53 * 53 + 1) * hidden + (hidden + 1) * 4
    found = sum(p.numel() for p in BaselineCNN(hidden=hidden).parameters())
    assert found == convolutions + linears


def test_a_relu_follows_each_layer_but_the_last():
    relus = [layer for layer in BaselineCNN().modules() if isinstance(layer, nn.ReLU)]
    assert len(relus) == 3


def test_he_weights_keep_the_scale_that_torchs_own_lose():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 224, 224)
    spreads = {
        init: BaselineCNN(init=init).features(images).std().item() for init in ("torch", "he")
    }
    assert spreads["torch"] < 0.5
    assert spreads["he"] > 1


def test_he_weights_begin_at_even_odds():
    torch.manual_seed(0)
    shares = BaselineCNN(init="he")(torch.randn(8, 3, 224, 224)).softmax(1)
    assert shares.sub(0.25).abs().max() < 0.1


def test_unknown_first_weights_are_refused_by_their_key():
    with pytest.raises(UserError, match=r"model\.backbone\.init.*'zeros'"):
        BaselineCNN(init="zeros")


@pytest.mark.parametrize("shape", [(2, 3, 100, 100), (2, 1, 224, 224), (3, 224, 224)])
def test_other_shapes_are_refused_with_the_remedy(shape):
    with pytest.raises(UserError, match=r"\(N, 3, 224, 224\).*crop\.size=224"):
        BaselineCNN()(torch.zeros(shape))


@pytest.mark.parametrize("hidden", [0, -3, 2.5, True, "wide"])
def test_a_bad_width_is_refused_by_its_key(hidden):
    with pytest.raises(UserError, match=r"model\.backbone\.hidden"):
        BaselineCNN(hidden=hidden)


def test_the_notebooks_first_kernel_gives_the_same_number_of_features():
    model = BaselineCNN(kernel=3)
    assert model.features[0].kernel_size == (3, 3)
    assert model.features(torch.zeros(1, 3, 224, 224)).shape == (1, 10, 53, 53)
    with pytest.raises(UserError, match=r"model\.backbone\.kernel to be one of 3, 5, but got 4"):
        BaselineCNN(kernel=4)
