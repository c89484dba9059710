"""Where and in which precision to compute, and what the machine computes well."""

from dataclasses import dataclass

import torch

from leukemia.errors import UserError

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


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

    @property
    def half(self) -> torch.dtype | None:
        """The half precision that is mixed in, if any."""
        return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)


def resolve_accelerator(accelerator: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps`` for the trainer's setting.

    Raises:
        UserError: the accelerator is asked for and absent, or unknown.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if accelerator == "auto":
        return next(name for name, here in present.items() if here)
    name = "cuda" if accelerator == "gpu" else accelerator
    if name not in present:
        raise UserError(
            f"Expected trainer.accelerator to be auto, cpu, gpu, cuda or mps, "
            f"but got '{accelerator}'."
        )
    if not present[name]:
        raise UserError(
            f"trainer.accelerator={accelerator} is not on this machine: "
            f"use trainer.accelerator=cpu."
        )
    return name


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return Lightning's precision; ``auto`` takes bfloat16 where the hardware has it.

    Raises:
        UserError: an unknown precision.
    """
    if str(precision) not in PRECISIONS:
        raise UserError(
            f"Expected trainer.precision to be one of {list(PRECISIONS)}, but got '{precision}'."
        )
    if precision != "auto":
        return str(precision)
    if accelerator == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = accelerator == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16-mixed" if fast else "32-true"
