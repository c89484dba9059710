"""State dicts from torchvision or from a file, and their loading where not everything fits."""

from collections.abc import Collection
from pathlib import Path

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
