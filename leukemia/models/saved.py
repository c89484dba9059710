"""Checkpoints read back, whole or not at all; free of Lightning, which predicting never needs."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from leukemia.errors import UserError

WEIGHTS: Mapping[str, type] = {"state_dict": dict}
"""What every checkpoint holds."""

PROGRESS: Mapping[str, type] = {
    **WEIGHTS,
    "callbacks": dict,
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""What a checkpoint to go on from holds beside."""


def load_checkpoint(
    path: Path, remedy: str, wanted: Mapping[str, type] = WEIGHTS
) -> dict[str, Any]:
    """Read a checkpoint that is whole: to the last byte what was written.

    Its zip archive holds a CRC of each part, which torch writes and does not look at: here they
    are verified, 0.03 s for the 45 MB of a ResNet18. No more than tensors and plain values is
    unpickled.

    Args:
        path: of the file.
        remedy: what to do about a bad one, a sentence.
        wanted: keys that it must have, and the types of their values.

    Returns:
        Its content, on the CPU; under ``state_dict`` are tensors by name, none with numbers that
        are not finite.

    Raises:
        UserError: there is no such file, or it is not whole, or another one.
    """
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        for key, kind in wanted.items():
            found = content.get(key) if isinstance(content, dict) else content
            if not isinstance(content, dict) or not isinstance(found, kind):
                raise ValueError(f"it holds {_said(found)} in the place of {key}")
        for name, value in content["state_dict"].items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                raise ValueError(f"it holds {_said(value)} in the place of the weights {name!r}")
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"the weights {name} are not finite numbers")
    # A broken file raises anything from KeyError to UnpicklingError.
    except Exception as error:
        raise UserError(
            f"The checkpoint '{path}' cannot be used: {_reason(error)}. {remedy}"
        ) from error
    return dict(content)


def load_into(
    module: nn.Module, state: Mapping[str, torch.Tensor], path: Path, remedy: str
) -> None:
    """Load weights into the network that they must be of.

    Raises:
        UserError: they are of another.
    """
    check_fits(module, state, path, remedy)
    module.load_state_dict(state)


def check_fits(
    module: nn.Module, state: Mapping[str, torch.Tensor], path: Path, remedy: str
) -> None:
    """Refuse weights of another network.

    Raises:
        UserError: names or shapes are not those of the module.
    """
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in state.items()}
    other = next((name for name in {**own, **there} if own.get(name) != there.get(name)), None)
    if other is not None:
        raise UserError(
            f"The checkpoint '{path}' cannot be used: it is of another network, whose {other} is "
            f"{there.get(other, 'absent')} there and {own.get(other, 'absent')} here. {remedy}"
        )


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # torch compresses nothing: what is compressed here could grow beyond all memory.
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is no file of torch.save")
        if bad := archive.testzip():
            raise ValueError(f"its part {bad} is damaged")


def _said(value: object) -> str:
    return "nothing" if value is None else f"one {type(value).__name__}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
