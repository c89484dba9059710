"""Optimizers, and the learning rate over the steps of a stage."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from leukemia.check import check_choice, check_count, check_number
from leukemia.errors import UserError

SCHEDULES = ("exponential", "cosine", "one_cycle", "step", "constant")
OPTIMIZERS = ("adam", "adamw", "sgd")
ONE_CYCLE_START = 1 / 25  # of the peak, as in torch's OneCycleLR


@dataclass(frozen=True)
class ScheduleSpec:
    """How the learning rate goes, as a factor of the optimizer's (its peak).

    Args:
        name: ``exponential``: times ``gamma`` a step (the paper). ``cosine``: half a cosine down
            to ``final``. ``one_cycle``: half a cosine up from 1/25, half a cosine down to
            ``final`` (arXiv:1708.07120). ``step``: times ``step_gamma`` every ``step_size`` of
            the steps. ``constant``.
        warmup: share of the steps, in [0, 1), that rise linearly to the peak first; the rest of
            the steps follows the schedule. ``one_cycle`` rises by itself and takes none.
        gamma: in (0, 1].
        final: rate after the last step relative to the peak, in [0, 1].
        step_size: share of the steps between two drops, in (0, 1].
        step_gamma: in (0, 1].
        peak: share of the steps, in [0, 1), after which ``one_cycle`` is at its peak.

    Raises:
        UserError: a setting of ``schedule`` that cannot be.
    """

    name: str
    warmup: float = 0.0
    gamma: float = 0.98
    final: float = 0.01
    step_size: float = 0.33
    step_gamma: float = 0.1
    peak: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what could not be followed."""
        check_choice("schedule.name", self.name, SCHEDULES)
        for key in ("warmup", "peak"):
            check_number(f"schedule.{key}", getattr(self, key), "in [0, 1)", lambda x: 0 <= x < 1)
        for key in ("gamma", "step_size", "step_gamma"):
            check_number(f"schedule.{key}", getattr(self, key), "in (0, 1]", lambda x: 0 < x <= 1)
        check_number("schedule.final", self.final, "in [0, 1]", lambda x: 0 <= x <= 1)
        if self.name == "one_cycle" and self.warmup > 0:
            raise UserError(
                f"Expected schedule.warmup to be 0 for one_cycle, whose rise is schedule.peak, "
                f"but got {self.warmup}."
            )


def rate_factor(spec: ScheduleSpec, total_steps: int, step: int) -> float:
    """Return the learning rate of a step relative to the peak.

    A pure function of the step, so that a resumed run goes on with the same bits.

    Args:
        spec: the schedule.
        total_steps: number of optimizer steps.
        step: 0 for the first; from ``total_steps`` on, the rate stays.
    """
    step = min(step, total_steps)
    if spec.name == "one_cycle":
        return _one_cycle(spec, total_steps, step)
    warmup = round(spec.warmup * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    step, steps = step - warmup, total_steps - warmup
    if spec.name == "exponential":
        return float(spec.gamma**step)
    if spec.name == "cosine":
        return _half_cosine(1.0, spec.final, step / max(steps, 1))
    if spec.name == "step":
        return float(spec.step_gamma ** (step // max(1, round(spec.step_size * steps))))
    return 1.0


def _one_cycle(spec: ScheduleSpec, total_steps: int, step: int) -> float:
    last = total_steps - 1
    top = max(spec.peak * total_steps - 1, 0.0)
    if step < top:
        return _half_cosine(ONE_CYCLE_START, 1.0, step / top)
    return _half_cosine(1.0, spec.final, min(1.0, (step - top) / (last - top)) if last else 0.0)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def make_schedule(optimizer: Optimizer, spec: ScheduleSpec, total_steps: int) -> LambdaLR:
    """Return the scheduler, to be stepped after every optimizer step.

    Its ``state_dict`` holds plain values.

    Args:
        optimizer: its learning rate is the peak.
        spec: the schedule.
        total_steps: number of optimizer steps.

    Raises:
        UserError: no steps.
    """
    check_count("the number of training steps", total_steps)
    return LambdaLR(optimizer, partial(rate_factor, spec, total_steps))


def make_optimizer(
    params: Iterable[tuple[str, nn.Parameter]],
    name: str = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    *,
    nesterov: bool = False,
    decay_all: bool = False,
) -> Optimizer:
    """Return an optimizer of the parameters that require a gradient.

    Args:
        params: named parameters, as of ``module.named_parameters()``.
        name: ``adam`` (weight decay as an L2 term), ``adamw`` (decoupled) or ``sgd``.
        lr: learning rate, above 0.
        weight_decay: 0 or above; biases and norms (one dimension or none) are spared.
        momentum: of ``sgd``, in [0, 1).
        nesterov: Nesterov's momentum, for ``sgd``.
        decay_all: spare nothing.

    Raises:
        UserError: a setting of ``optimizer`` that cannot be.
    """
    check_choice("optimizer.name", name, OPTIMIZERS)
    check_number("optimizer.lr", lr, "above 0", lambda x: x > 0)
    check_number("optimizer.weight_decay", weight_decay, "a number from 0 on", lambda x: x >= 0)
    check_number("optimizer.momentum", momentum, "in [0, 1)", lambda x: 0 <= x < 1)
    if nesterov and momentum == 0:
        raise UserError("Expected optimizer.momentum to be above 0 for nesterov, but got 0.")
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for _, parameter in params:
        if parameter.requires_grad:
            (decayed if decay_all or parameter.ndim > 1 else spared).append(parameter)
    groups = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, weight_decay), (spared, 0.0))
        if group
    ]
    if name == "sgd":
        return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
    return (Adam if name == "adam" else AdamW)(groups, lr=lr, fused=True)
