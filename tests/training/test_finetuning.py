import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import AdamW

from leukemia.errors import UserError
from leukemia.models.schedule import decay_groups
from leukemia.training.finetuning import (
    NormsAtRest,
    best_share,
    between,
    check_shares,
    rate_factor_of,
    with_rates,
)


class Net(nn.Module):
    """Two convolutional layers with a norm, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.add_module("layer3", nn.Conv2d(3, 2, 1))
        self.backbone.add_module("norm", nn.BatchNorm2d(2))
        self.backbone.add_module("layer4", nn.Conv2d(2, 2, 1))
        self.head = nn.Linear(2, 2)


def test_of_several_parts_the_last_listed_counts():
    rates = {"backbone": 0, "layer4": 0.1}
    assert rate_factor_of("backbone.layer3.weight", rates) == 0
    assert rate_factor_of("backbone.layer4.weight", rates) == 0.1
    assert rate_factor_of("head.weight", rates) == 1
    # A part is all that stands between two dots.
    assert rate_factor_of("backbone.layer44.weight", rates) == 0


def adamw(params):
    return AdamW(decay_groups(params, 0.5), lr=0.01)


def test_each_part_has_its_rate_and_what_has_none_is_frozen():
    net = Net()
    make = adamw
    rates = {"backbone": 0.0, "layer4": 0.1}
    optimizer = with_rates(make, rates, "stage.finetune.rates", net.named_parameters())
    found = {
        id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]
    }
    assert found == {
        id(net.backbone.layer4.weight): (pytest.approx(0.001), 0.5),
        id(net.backbone.layer4.bias): (pytest.approx(0.001), 0.0),
        id(net.head.weight): (0.01, 0.5),
        id(net.head.bias): (0.01, 0.0),
    }
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    assert frozen == [
        "backbone.layer3.weight",
        "backbone.layer3.bias",
        "backbone.norm.weight",
        "backbone.norm.bias",
    ]


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ({"layer5": 0.1}, "names 'layer5'.*backbone, bias, head, layer3, layer4"),
        ({"backbone": -1}, "from 0 on, but got -1"),
        ({"backbone": 0, "head": 0}, "nothing to train"),
    ],
)
def test_rates_that_cannot_be_are_refused(rates, says):
    with pytest.raises(UserError, match=says):
        with_rates(adamw, rates, "stage.finetune.rates", Net().named_parameters())


def test_norms_at_rest_keep_their_statistics_and_the_head_learns_on():
    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = Net()

    module = Module().train()
    NormsAtRest().on_train_epoch_start(L.Trainer(logger=False, accelerator="cpu"), module)
    modes = {name: m.training for name, m in module.network.named_modules()}
    assert [name for name, training in modes.items() if not training] == ["backbone.norm"]
    module.network.backbone(torch.ones(1, 3, 1, 1))
    assert module.network.backbone.norm.running_mean.tolist() == [0.0, 0.0]


def test_between_is_a_share_of_the_way_and_leaves_counts_alone():
    before = {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(1)}
    after = {"w": torch.tensor([2.0, 0.0]), "n": torch.tensor(9)}
    found = between(before, after, 0.25)
    assert found["w"].tolist() == [0.5, 3.0]
    assert found["n"].item() == 9
    for share, state in ((0.0, before), (1.0, after)):
        assert torch.equal(between(before, after, share)["w"], state["w"])


def test_the_share_with_the_lowest_nll_is_kept_and_of_equals_the_smallest():
    nll = {0.0: 0.5, 0.5: 0.2, 0.75: 0.2, 1.0: 0.9}
    assert best_share(nll.__getitem__, [1, 0.75, 0.5, 0], "blend") == (0.5, nll)
    assert best_share(lambda share: np.nan if share else 0.1, [0, 1], "blend")[0] == 0


@pytest.mark.parametrize(("shares", "says"), [([], "got none"), ([0.5, 1.5], "got 1.5")])
def test_shares_that_are_none_are_refused(shares, says):
    with pytest.raises(UserError, match=says):
        check_shares(shares, "stage.finetune.blend")
