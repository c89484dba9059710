"""What an optimizer updates, and its learning rate over the steps of a stage."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from leukemia.errors import UserError, check_count, check_number

ONE_CYCLE_START = 1 / 25  # of the peak, as in torch's OneCycleLR


@dataclass(frozen=True)
class Schedule(ABC):
    """How the learning rate goes, as a factor of the optimizer's (its peak).

    Args:
        warmup: share of the steps, in [0, 1), that rise linearly to the peak first; the rest of
            the steps follows the schedule.

    Raises:
        UserError: a setting of ``schedule`` that cannot be.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could not be followed."""
        for key, value in vars(self).items():
            if key in ("warmup", "peak"):
                check_number(f"schedule.{key}", value, "in [0, 1)", lambda x: 0 <= x < 1)
            elif key == "final":
                check_number("schedule.final", value, "in [0, 1]", lambda x: 0 <= x <= 1)
            else:
                check_number(f"schedule.{key}", value, "in (0, 1]", lambda x: 0 < x <= 1)

    @abstractmethod
    def after(self, steps: int, step: int) -> float:
        """Return the rate, relative to the peak, of one of the steps after the warm-up."""

    def factor(self, total_steps: int, step: int) -> float:
        """Return the learning rate of a step relative to the peak.

        A pure function of the step, so that a resumed run goes on with the same bits.

        Args:
            total_steps: number of optimizer steps.
            step: 0 for the first; from ``total_steps`` on, the rate stays.
        """
        step = min(step, total_steps)
        warmup = round(self.warmup * total_steps)
        if step < warmup:
            return (step + 1) / warmup
        return self.after(total_steps - warmup, step - warmup)

    def __call__(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """Return the scheduler, to be stepped after every optimizer step.

        Its ``state_dict`` holds plain values.

        Args:
            optimizer: its learning rate is the peak.
            total_steps: number of optimizer steps.

        Raises:
            UserError: no steps.
        """
        check_count("the number of training steps", total_steps)
        return LambdaLR(optimizer, partial(self.factor, total_steps))


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step.

    Args:
        warmup: see `Schedule`.
    """

    def after(self, steps: int, step: int) -> float:
        """Return the rate of a step, see `Schedule.after`."""
        return 1.0


@dataclass(frozen=True)
class Exponential(Schedule):
    """The rate falls by the same factor at every step (paper section 5.3).

    Args:
        warmup: see `Schedule`.
        gamma: the factor, in (0, 1].
    """

    gamma: float = 0.98

    def after(self, steps: int, step: int) -> float:
        """Return the rate of a step, see `Schedule.after`."""
        return float(self.gamma**step)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine down to ``final``.

    Args:
        warmup: see `Schedule`.
        final: rate after the last step relative to the peak, in [0, 1].
    """

    final: float = 0.01

    def after(self, steps: int, step: int) -> float:
        """Return the rate of a step, see `Schedule.after`."""
        return _half_cosine(1.0, self.final, step / max(steps, 1))


@dataclass(frozen=True)
class Step(Schedule):
    """The rate falls at once, time and again.

    Args:
        warmup: see `Schedule`.
        step_size: share of the steps between two drops, in (0, 1].
        step_gamma: factor of a drop, in (0, 1].
    """

    step_size: float = 0.33
    step_gamma: float = 0.1

    def after(self, steps: int, step: int) -> float:
        """Return the rate of a step, see `Schedule.after`."""
        return float(self.step_gamma ** (step // max(1, round(self.step_size * steps))))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Half a cosine up from 1/25, half a cosine down to ``final`` (arXiv:1708.07120).

    Args:
        warmup: 0: it rises by itself.
        peak: share of the steps, in [0, 1), after which the rate is at its peak.
        final: rate after the last step relative to the peak, in [0, 1].
    """

    peak: float = 0.3
    final: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what could not be followed."""
        super().__post_init__()
        if self.warmup > 0:
            raise UserError(
                f"Expected schedule.warmup to be 0 for one_cycle, whose rise is schedule.peak, "
                f"but got {self.warmup}."
            )

    def after(self, steps: int, step: int) -> float:
        """Return the rate of a step, see `Schedule.after`."""
        last = steps - 1
        top = max(self.peak * steps - 1, 0.0)
        if step < top:
            return _half_cosine(ONE_CYCLE_START, 1.0, step / top)
        return _half_cosine(1.0, self.final, min(1.0, (step - top) / (last - top)) if last else 0.0)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def decay_groups(
    params: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, Any]]:
    """Return the parameters that require a gradient, as an optimizer takes them.

    Args:
        params: named parameters, as of ``module.named_parameters()``.
        weight_decay: 0 or above; biases and norms (one dimension or none) are spared.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for _, parameter in params:
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 else spared).append(parameter)
    return [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, weight_decay), (spared, 0.0))
        if group
    ]
