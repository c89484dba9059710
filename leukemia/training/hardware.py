"""Where and in which precision to compute, and what the machine computes well."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from leukemia.errors import UserError, check_choice

if TYPE_CHECKING:
    import lightning as L

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")

SWITCH = "LEUKEMIA_PRECISION"
"""Of the environment: what ``trainer.precision=auto`` means, whatever the hardware has."""


@dataclass(frozen=True)
class Hardware:
    """Where and in which precision to compute: Lightning's names."""

    accelerator: str = "cpu"
    devices: int = 1
    precision: str = "32-true"
    deterministic: bool = True
    progress: bool = True
    save_every: float = 0.0  # seconds at least between two states to resume from
    keep_last: bool = True  # the state after the last epoch
    trainer: Callable[[], Callable[..., "L.Trainer"]] | None = None  # of a fit, with its flags

    @property
    def half(self) -> torch.dtype | None:
        """The half precision that is mixed in, if any."""
        return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)


def resolve_accelerator(accelerator: str) -> str:
    """Return ``cpu`` or ``cuda`` for the trainer's setting.

    Apple's GPUs lack the float64 in which probabilities are computed.

    Raises:
        UserError: the accelerator is asked for and absent, or unknown.
    """
    check_choice("trainer.accelerator", accelerator, ("auto", "cpu", "gpu", "cuda"))
    present = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not present:
        raise UserError(
            f"trainer.accelerator={accelerator} is not on this machine: "
            f"use trainer.accelerator=cpu."
        )
    return "cuda" if present and accelerator != "cpu" else "cpu"


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return Lightning's precision; ``auto`` takes bfloat16 where the hardware has it.

    Where the environment has `SWITCH`, ``auto`` is that: so figures can be compared between
    machines, one of which has no bfloat16, without changing the settings of a run.

    Raises:
        UserError: an unknown precision, or one that the hardware does not have.
    """
    name = "trainer.precision"
    if precision == "auto" and os.environ.get(SWITCH):
        name, precision = SWITCH, os.environ[SWITCH]
    check_choice(name, str(precision), PRECISIONS)
    if precision == "16-mixed" and accelerator == "cpu":
        raise UserError(f"{name}=16-mixed needs a GPU: on a CPU use {name}=bf16-mixed, or 32-true.")
    if precision != "auto":
        return str(precision)
    if accelerator == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16-mixed" if fast else "32-true"
