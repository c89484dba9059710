from functools import partial

import pytest
import torch
from torch import nn

from leukemia.errors import UserError
from leukemia.models.head import LinearHead, ResidualHead

PUBLISHED = [
    (512, 1024),
    (1024, 1024),
    (1024, 2048),
    (2048, 2048),
    (2048, 1024),
    (1024, 1024),
    (1024, 512),
    (512, 512),
    (512, 256),
    (256, 256),
    (256, 64),
    (64, 64),
    (64, 16),
    (16, 16),
    (16, 4),
]


def linears(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def test_the_linear_layers_are_the_fifteen_published():
    found = [(layer.in_features, layer.out_features) for layer in linears(ResidualHead(512))]
    assert found == PUBLISHED


def test_the_parameters_are_counted_in_closed_form():
    widths = [1024, 2048, 1024, 512, 256, 64, 16]
    expected = sum((a + 1) * b for a, b in PUBLISHED) + sum(2 * w for w in widths)
    assert sum(p.numel() for p in ResidualHead(512).parameters()) == expected


def test_dropout_stands_in_every_pair_but_the_last():
    shares = [m.p for m in ResidualHead(8).modules() if isinstance(m, nn.Dropout)]
    assert shares == [0.5] * 6 + [0.0]


def test_a_pair_is_linear_relu_then_a_skip_around_a_linear_relu_and_batchnorm():
    head = ResidualHead(2, widths=(2,), n_classes=2).eval()
    first, second, last = linears(head)
    with torch.no_grad():
        for layer in (first, second, last):
            layer.bias.zero_()
        first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        second.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, -3.0]]))
        last.weight.copy_(torch.eye(2))
        head.pairs[0].norm.running_mean.copy_(torch.tensor([1.0, 0.0]))
        logits = head(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
    # relu -> [1, 1] and [0, 1]; plus the linear -> [3, -2] and [0, -2]; relu -> [3, 0] and
    # [0, 0]; BatchNorm takes 1 off the first.
    torch.testing.assert_close(logits, torch.tensor([[2.0, 0.0], [-1.0, 0.0]]), rtol=0, atol=1e-4)


class Halve(nn.Module):
    """Stands in for dropout: it drops the same share of every value, so that sums are exact."""

    def forward(self, values):
        return values / 2


def test_dropout_falls_on_the_skip_alone_in_the_first_two_pairs_and_on_both_ways_after():
    head = ResidualHead(1, widths=(1,) * 7, n_classes=1).eval()
    for pair in head.pairs:
        pair.dropout = Halve() if pair.dropout.p else nn.Identity()
        pair.norm = nn.Identity()
    with torch.no_grad():
        for layer in linears(head):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        found = head(torch.tensor([[8.0]]))
    # The linear of equal size hands on what it takes. Pairs 1 and 2: x + x / 2 = 1.5 x.
    # Pairs 3 to 6: x / 2 + x / 2 = x. The last pair drops nothing: 2 x. 8 * 1.5 * 1.5 * 2 = 36.
    assert found.item() == 36.0


def test_the_residual_head_starts_as_torch_starts_linear_layers():
    torch.manual_seed(0)
    head = ResidualHead(512)
    for layer in linears(head):
        bound = layer.in_features**-0.5  # uniform in +- this, weights and biases
        assert layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound
        if layer.weight.numel() > 10_000:
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
            assert layer.bias.std() > 0


def test_the_linear_head_starts_xavier_normal_with_biases_of_zero():
    torch.manual_seed(0)
    layer = linears(LinearHead(1000, 1000))[0]
    assert layer.weight.std().item() == pytest.approx((2 / 2000) ** 0.5, rel=0.01)
    # A uniform start of this spread ends at 1.73 standard deviations.
    assert layer.weight.abs().max() > 4 * layer.weight.std()
    assert layer.bias.abs().max() == 0


@pytest.mark.parametrize(
    "make", [LinearHead, partial(ResidualHead, widths=(8, 6))], ids=["linear", "residual"]
)
def test_embeddings_become_logits_and_every_parameter_learns(make):
    torch.manual_seed(0)
    head = make(10, n_classes=3, dropout=0.1)
    logits = head(torch.randn(16, 10))
    assert logits.shape == (16, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_the_linear_head_is_one_layer():
    head = LinearHead(512)
    assert sum(p.numel() for p in head.parameters()) == 512 * 4 + 4
    assert head.dropout.p == 0.0


def test_settings_reach_the_residual_head():
    head = ResidualHead(8, (5, 3), 4, 0.25)
    assert [layer.out_features for layer in linears(head)] == [5, 5, 3, 3, 4]
    assert head.pairs[0].dropout.p == 0.25


@pytest.mark.parametrize(
    "make", [LinearHead, partial(ResidualHead, widths=(4,))], ids=["linear", "residual"]
)
def test_standardised_embeddings_have_mean_0_and_variance_1(make):
    torch.manual_seed(0)
    head = make(3, standardize=True)
    seen = []
    head.standardize.register_forward_hook(lambda _, __, out: seen.append(out))
    head(torch.randn(200, 3) * torch.tensor([0.1, 1.0, 50.0]) + 7)
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(seen[0].var(0), torch.ones(3), rtol=0, atol=0.02)
    assert not list(head.standardize.parameters())


def test_embeddings_are_not_standardised_unless_told():
    assert not [m for m in LinearHead(3).modules() if isinstance(m, nn.BatchNorm1d)]


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("model.head.widths", {"widths": ()}),
        ("model.head.widths", {"widths": (8, 0)}),
        ("model.head.widths", {"widths": (8, 2.5)}),
        ("model.head.dropout", {"dropout": 1.0}),
        ("model.head.dropout", {"dropout": -0.1}),
        ("model.head.dropout", {"dropout": "half"}),
        ("model.head.dropout", {"make": LinearHead, "dropout": float("nan")}),
    ],
)
def test_a_bad_setting_is_refused_by_its_key(key, settings):
    make = settings.pop("make", ResidualHead)
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        make(8, **settings)


def test_whitening_is_exact_in_a_precision_that_is_not():
    head = LinearHead(3, whiten=True)
    values = 1000 + torch.randn(5, 3)
    head.standardize.mean.fill_(1000)
    head.standardize.matrix.mul_(7)
    with torch.autocast("cpu", torch.bfloat16):
        found = head.standardize(values)
    assert torch.equal(found, (values - 1000) * 7)
