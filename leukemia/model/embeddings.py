"""Embeddings of a frozen backbone, computed once and cached by content."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from leukemia.model.network import Network

Views = Callable[[npt.NDArray[np.uint8], int], npt.NDArray[np.uint8]]


def state_hash(module: nn.Module) -> str:
    """Return a sha256 over names and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def embed(
    network: Network,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    *,
    views: Views | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    bfloat16: bool = False,
    progress: bool = True,
) -> npt.NDArray[np.float32]:
    """Return the embeddings of chosen images under a network's frozen backbone.

    Args:
        network: its normalisation and backbone are used, in eval mode.
        images: (N, H, W, 3) uint8.
        rows: the images wanted, (n,).
        views: image and row to its views (V, H, W, 3); ``None`` for the image itself.
        batch_size: images a forward pass.
        device: torch's name of the device.
        bfloat16: compute in bfloat16 where torch's autocast does.
        progress: show a bar.

    Returns:
        (n, V, d) float32.
    """
    training = network.training
    network.to(device).eval()
    found: list[torch.Tensor] = []
    for start in tqdm(
        range(0, len(rows), batch_size), "embeddings", leave=False, disable=not progress
    ):
        chosen = rows[start : start + batch_size]
        stack = (
            images[chosen][:, None]
            if views is None
            else np.stack([views(images[row], int(row)) for row in chosen])
        )
        flat = torch.from_numpy(stack.reshape(-1, *stack.shape[2:])).permute(0, 3, 1, 2)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            out = network.embed(flat.to(device))
        found.append(out.float().cpu().reshape(len(chosen), stack.shape[1], -1))
    network.train(training)
    return torch.cat(found).numpy()


def cached_embeddings(
    network: Network,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    *,
    folder: Path,
    content: str,
    **settings: Any,
) -> npt.NDArray[np.float32]:
    """Return `embed`'s table from the cache, or compute and keep it.

    Args:
        network: see `embed`.
        images: see `embed`.
        rows: see `embed`.
        folder: the cache.
        content: a text that changes with the pixels and the views.
        **settings: the other settings of `embed`.
    """
    parts = [content, state_hash(network.backbone), state_hash(network.normalize)]
    parts += [str(settings.get("bfloat16")), hashlib.sha256(rows.tobytes()).hexdigest()]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    path = folder / f"embeddings-{key}.npy"
    if path.is_file():
        table: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
        return table
    table = embed(network, images, rows, **settings)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{path.name}.{os.getpid()}"
    with beside.open("wb") as file:
        np.save(file, table)
    beside.replace(path)
    return table
