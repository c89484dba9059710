"""Embeddings of a frozen backbone, computed once and cached by content."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import nn
from tqdm import tqdm

from leukemia.errors import UserError
from leukemia.leftovers import building, remove
from leukemia.models.network import Network

Views = Callable[[npt.NDArray[np.uint8], int], npt.NDArray[np.uint8]]


def state_hash(module: nn.Module) -> str:
    """Return a sha256 over names and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def embed(
    network: Network,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    *,
    views: Views | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    half: torch.dtype | None = None,
    progress: bool = True,
) -> npt.NDArray[np.float32]:
    """Return the embeddings of chosen images under a network's frozen backbone.

    The last bits of a result depend on the shape of its batch. So every image has a fixed place
    in a batch, which is blank where an image is not asked for: an embedding is the same
    whichever others are computed with it.

    Args:
        network: its normalisation and backbone are used, in eval mode.
        images: (N, H, W, 3) uint8.
        rows: the images wanted, (n,).
        views: image and row to its views (V, H, W, 3); ``None`` for the image itself.
        batch_size: images a forward pass.
        device: torch's name of the device.
        half: the half precision to compute in where torch's autocast does; ``None`` for none.
        progress: show a bar, where stderr is a terminal.

    Returns:
        (n, V, d) float32.
    """
    training = network.training
    # Not in inference mode: parameters that are moved in it could not be trained any more.
    network.to(device).eval()
    table: list[torch.Tensor] = []
    starts = np.unique(rows // batch_size) * batch_size
    for start in tqdm(starts, "embeddings", leave=False, disable=None if progress else True):
        wanted = np.unique(rows[(rows >= start) & (rows < start + batch_size)])
        seen = [
            images[row][None] if views is None else views(images[row], int(row)) for row in wanted
        ]
        stack = np.zeros((min(batch_size, len(images) - start), *seen[0].shape), np.uint8)
        stack[wanted - start] = seen
        flat = torch.from_numpy(stack.reshape(-1, *stack.shape[2:])).permute(0, 3, 1, 2)
        kind = torch.device(device).type
        with (
            torch.inference_mode(),
            torch.autocast(kind, half or torch.bfloat16, enabled=half is not None),
        ):
            out = network.embed(flat.to(device)).float().cpu()
        table.append(out.reshape(*stack.shape[:2], -1)[wanted - start])
    network.train(training)
    order = np.unique(rows, return_inverse=True)[1]
    return torch.cat(table).numpy()[order]


def cached_embeddings(
    network: Network,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    *,
    folder: Path,
    content: str,
    **settings: Any,
) -> npt.NDArray[np.float32]:
    """Return `embed`'s table from the cache; what it lacks is computed and kept.

    Its file carries CRC32 of all that is in it, checked where it is read (5 MB for 2,604 images:
    0.01 s); a damaged one is computed again.

    An image passes through the backbone once, however many runs ask for it, one after the other
    or side by side, and whichever other images they ask for.

    What it promises, in every precision: each value is bit by bit the one that `embed` computes
    here with these settings, whoever computed it first. So the key has all that changes a bit of
    it: pixels, views, weights and normalisation, the half precision, the size of a batch (the
    place of an image in its batch is its row's), the weights' layout in memory, the device, its
    kind of processor, and torch's version. It does not have the number of threads: convolutions
    share out their outputs among them, not the sums.

    Args:
        network: see `embed`.
        images: see `embed`.
        rows: see `embed`.
        folder: the cache.
        content: a text that changes with the pixels, the views, and what the backbone computes
            besides its weights.
        **settings: the other settings of `embed`.

    Raises:
        UserError: the cache cannot be read or written.
    """
    parts = [content, state_hash(network.backbone), state_hash(network.normalize)]
    parts += [str(settings.get(name)) for name in ("half", "batch_size")]
    parts += [_layout(network), _machine(settings.get("device", "cpu"))]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    path = folder / f"embeddings-{key}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            known, table = _read(path)
            missing = np.setdiff1d(rows, known)
            if len(missing):
                found = embed(network, images, missing, **settings)
                table = found if table is None else np.concatenate([table, found])
                known = np.concatenate([known, missing])
                with building(folder) as beside:
                    with beside.open("wb") as file:
                        np.savez(file, rows=known, table=table)
                    beside.replace(path)
    except OSError as error:
        raise UserError(
            f"The cache '{path}' cannot be used ({error.strerror or error}): make room, or set "
            f"data.cache_dir to another folder."
        ) from error
    assert table is not None
    places = np.full(len(images), -1)
    places[known] = np.arange(len(known))
    chosen: npt.NDArray[np.float32] = table[places[rows]]
    return chosen


def _layout(network: Network) -> str:
    """Return the strides of the weights, in which convolutions also find how to add up."""
    return str([weight.stride() for weight in network.parameters() if weight.ndim == 4])


def _machine(device: str) -> str:
    """Return what computes: processors of different kinds add up in different orders."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else _instructions()
    return f"{torch.__version__} {kind} {name}"


def _instructions() -> str:
    """Return what torch and oneDNN choose their code for a CPU by."""
    fast = torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return f"{torch.backends.cpu.get_cpu_capability()} {fast}"


def _read(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32] | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            rows, table = archive["rows"], archive["table"]
        if len(rows) != len(table):
            raise ValueError("rows are missing")
        return rows, table
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged archive raises nearly anything
        print(f"The cache '{path}' is damaged ({error}): it is made again.", file=sys.stderr)
        remove(path)
    return np.empty(0, np.int64), None
