"""Weights from torchvision, a file or a checkpoint, also where not everything fits."""

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from leukemia.errors import UserError

State = dict[str, torch.Tensor]
# Left out of what is said to be missing: it counts batches, and older files lack it.
COUNTER = "num_batches_tracked"
SHOWN = 5


def default_state(url: str) -> State:
    """Return torchvision's published weights, from torch's cache or from the network.

    A download that fails leaves nothing behind.

    Args:
        url: of one of torchvision's files of weights.

    Raises:
        UserError: nothing is cached and there is no network, or what is cached is broken.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    try:
        state: State = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:  # a broken file raises anything from KeyError to UnpicklingError
        raise UserError(
            f"model.backbone.weights=DEFAULT: {cached} could not be "
            f"{'read' if cached.exists() else 'downloaded'} ({type(error).__name__}). Set "
            f"model.backbone.weights=null for random weights or to the path of a local file, "
            f"or put {url} there from a machine with network."
        ) from error
    return state


def file_state(path: Path) -> State:
    """Return the tensors by name of a file, which may hold them under ``state_dict``.

    Args:
        path: a file of ``torch.save``; nothing but tensors and plain values is unpickled.

    Raises:
        UserError: no such file, not such a file, or no tensors in it.
    """
    if not path.is_file():
        raise UserError(
            f"Expected model.backbone.weights to be null, DEFAULT or a file, "
            f"but there is no file '{path}'."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises anything from KeyError to UnpicklingError
        raise UserError(
            f"model.backbone.weights: '{path}' is broken or holds more than tensors "
            f"({type(error).__name__}): save a state dict with torch.save."
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    tensors = content.items() if isinstance(content, dict) else ()
    state = {
        key: value
        for key, value in tensors
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not state:
        raise UserError(
            f"model.backbone.weights: '{path}' is not a state dict (tensors by name), "
            f"but a {type(content).__name__}."
        )
    return state


@torch.no_grad()
def load_fitting(
    module: nn.Module, state: State, source: str, ignored: tuple[str, ...] = ()
) -> tuple[str, bool]:
    """Copy the tensors that fit a module by name and shape into it.

    Not by ``load_state_dict``: it stops at the first shape that differs, and MNASNet's wants
    metadata that partial files lack.

    Args:
        module: receives the tensors; the others of its own stay as they are.
        state: tensors by name.
        source: what the tensors come from, for the line.
        ignored: starts of names that are not counted as unused.

    Returns:
        One line on what was loaded, missing, of another shape and unused; and whether nothing
        is missing or of another shape.

    Raises:
        UserError: nothing fits.
    """
    own: State = module.state_dict()
    fitting = [key for key in own if key in state and state[key].shape == own[key].shape]
    if not any(COUNTER not in key for key in fitting):
        raise UserError(
            f"model.backbone.weights: nothing in {source} fits the network: it has tensors "
            f"like '{next(iter(state))}', the network like '{next(iter(own))}'."
        )
    for key in fitting:
        own[key].copy_(state[key])
    names = [key for key in own if COUNTER not in key]
    missing = [key for key in names if key not in state]
    differing = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    unused = [key for key in state if key not in own and not key.startswith(ignored)]
    said = f"{len(fitting)} of {len(own)} tensors loaded from {source}"
    if missing:
        said += f"; missing and so random: {_listed(_collapsed(missing, names))}"
    if differing:
        said += f"; of another shape and so random: {_listed(differing)}"
    if unused:
        said += f"; unused: {_listed(unused)}"
    return said, not (missing or differing)


def _collapsed(chosen: Collection[str], names: Collection[str]) -> list[str]:
    """Return the chosen names, but a module's name where all of a module is chosen."""
    left = set(names) - set(chosen)
    short: dict[str, None] = {}
    for key in chosen:
        parts = key.split(".")
        prefixes = (".".join(parts[: i + 1]) for i in range(len(parts)))
        short[next(p for p in prefixes if not any(f"{k}.".startswith(f"{p}.") for k in left))] = (
            None
        )
    return list(short)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


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
