import io
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, lr_scheduler

from leukemia.errors import UserError
from leukemia.models.schedule import (
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Step,
    decay_groups,
)

KINDS = {
    "exponential": Exponential,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "step": Step,
    "constant": Constant,
}
NAMES = list(KINDS)


def one_parameter(lr=0.1):
    return SGD([nn.Parameter(torch.zeros(2, 2))], lr=lr)


def rates(optimizer, scheduler, steps):
    """The rate of every step, and the one after the last."""
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def ours(steps, name, **settings):
    optimizer = one_parameter()
    return rates(optimizer, KINDS[name](**settings)(optimizer, steps), steps)


def test_the_papers_rate_falls_by_two_percent_a_step():
    found = ours(400, "exponential")
    assert found[:3] == pytest.approx([0.1, 0.098, 0.09604])
    assert found[400] == pytest.approx(3.094e-5, rel=1e-3)


def test_warmup_rises_linearly_then_the_schedule_begins():
    found = ours(20, "exponential", warmup=0.2, gamma=0.5)
    assert found[:7] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.05, 0.025])


def test_warmup_before_a_cosine_ends_at_the_final_rate():
    found = ours(100, "cosine", warmup=0.1, final=0.05)
    assert found[9] == found[10] == max(found) == pytest.approx(0.1)
    assert found[55] == pytest.approx(0.0525)
    assert found[100] == pytest.approx(0.005)


def test_steps_fall_tenfold_at_a_third_and_two_thirds():
    found = ours(100, "step")
    assert [found[i] for i in (0, 32, 33, 65, 66, 98)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_one_cycle_rises_from_a_25th_and_ends_at_the_final_rate():
    found = ours(100, "one_cycle", peak=0.25, final=0.01)
    assert found[0] == pytest.approx(0.004)
    assert found[12] == pytest.approx(0.052)
    assert found[24] == max(found) == pytest.approx(0.1)
    assert found[99] == found[100] == pytest.approx(0.001)


def test_a_constant_rate_is_constant():
    assert set(ours(30, "constant")) == {0.1}


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("exponential", lambda o: lr_scheduler.ExponentialLR(o, 0.98)),
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=80, eta_min=0.001)),
        ("step", lambda o: lr_scheduler.StepLR(o, step_size=26, gamma=0.1)),
        (
            "one_cycle",
            lambda o: lr_scheduler.OneCycleLR(
                o, 0.1, 80, pct_start=0.3, final_div_factor=4, cycle_momentum=False
            ),
        ),
    ],
)
def test_every_rate_is_that_of_torchs_own_scheduler(name, reference):
    optimizer = one_parameter()
    # The one after the last is left out, because OneCycleLR refuses it.
    expected = rates(optimizer, reference(optimizer), 79)
    assert ours(80, name)[:80] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_short_stages_have_rates_between_zero_and_the_peak(name, steps):
    optimizer = one_parameter()
    scheduler = KINDS[name]()(optimizer, steps)
    found = rates(optimizer, scheduler, steps + 5)
    assert all(0 < rate <= 0.1 for rate in found)


@pytest.mark.parametrize("warmup", [0.5, 0.99])
def test_a_long_warmup_leaves_a_schedule_that_can_be_followed(warmup):
    assert max(ours(10, "cosine", warmup=warmup)) == pytest.approx(0.1)


def train(module, optimizer, scheduler, steps):
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.ones(3, 4)).square().sum().backward()
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def fresh(name):
    torch.manual_seed(0)
    module = nn.Linear(4, 2)
    optimizer = AdamW(decay_groups(module.named_parameters(), 0.01), lr=0.1, fused=True)
    return module, optimizer, KINDS[name]()(optimizer, 30)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_schedule_goes_on_to_the_same_bits_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = fresh(name)
        expected = train(*whole, 30)

        first = fresh(name)
        train(*first, 11)
        file = io.BytesIO()
        torch.save([part.state_dict() for part in first], file)
        file.seek(0)
        second = fresh(name)
        # weights_only=True: nothing but tensors and plain values.
        for part, state in zip(second, torch.load(file, weights_only=True), strict=True):
            part.load_state_dict(state)
        assert train(*second, 19) == expected[11:]
    assert torch.equal(second[0].weight, whole[0].weight)


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("schedule.warmup", {"warmup": 1.0}),
        ("schedule.warmup", {"warmup": -0.1}),
        ("schedule.warmup", {"name": "one_cycle", "warmup": 0.1}),
        ("schedule.gamma", {"name": "exponential", "gamma": 0.0}),
        ("schedule.gamma", {"name": "exponential", "gamma": "0.98"}),
        ("schedule.final", {"name": "cosine", "final": 1.5}),
        ("schedule.step_size", {"name": "step", "step_size": 0}),
        ("schedule.step_gamma", {"name": "step", "step_gamma": float("nan")}),
        ("schedule.peak", {"name": "one_cycle", "peak": 1.0}),
    ],
)
def test_a_bad_schedule_is_refused_by_its_key(key, settings):
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        KINDS[settings.pop("name", "cosine")](**settings)


def test_a_stage_without_steps_is_refused():
    with pytest.raises(UserError, match="number of training steps"):
        Constant()(one_parameter(), 0)


@pytest.mark.parametrize(("name", "decoupled"), [("adam", False), ("adamw", True), ("sgd", False)])
def test_steps_are_those_of_the_formula(name, decoupled):
    lr, decay, gradients = 0.1, 0.01, (0.5, -2.0, 0.25)
    weight = nn.Linear(9, 4, bias=False)
    nn.init.constant_(weight.weight, 1.5)
    kinds = {"adam": Adam, "adamw": AdamW, "sgd": partial(SGD, momentum=0.9)}
    optimizer = kinds[name](decay_groups(weight.named_parameters(), decay), lr=lr, fused=True)
    value, first, second = 1.5, 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        weight.weight.grad = torch.full_like(weight.weight, gradient)
        optimizer.step()
        slope = gradient if decoupled else gradient + decay * value
        value -= lr * decay * value if decoupled else 0.0
        if name == "sgd":
            first = 0.9 * first + slope
            value -= lr * first
            continue
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        value -= lr * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
    torch.testing.assert_close(weight.weight, torch.full_like(weight.weight, value))


def test_weight_decay_spares_biases_and_norms_unless_told():
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 4))
    names = {id(p): name for name, p in module.named_parameters()}

    found = {
        names[id(p)]: group["weight_decay"]
        for group in decay_groups(module.named_parameters(), 0.1)
        for p in group["params"]
    }
    assert found == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.1,
        "2.bias": 0.0,
    }


def test_frozen_parameters_are_left_out():
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    module[0].requires_grad_(False)
    given = {
        id(p) for group in decay_groups(module.named_parameters(), 0.1) for p in group["params"]
    }
    assert given == {id(p) for p in module[1].parameters()}
