"""Embeddings of a frozen backbone, cached by content; plain beside masked; upper stages."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from leukemia.disk import building, remove
from leukemia.errors import UserError, check_number
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


BESIDE_CHANNELS = 7


def magenta(pixels: torch.Tensor) -> torch.Tensor:
    """Return how magenta each pixel is among those of its image, (N, 1, H, W).

    That is (R + B) / 2 - G by which a pixel lies above the mean of its image, in standard
    deviations of the image, and 0 below the mean: stained nuclei count, red cells and glass do
    not. The deviation is one grey level or more, so an image without colour has 0 everywhere.

    Args:
        pixels: raw ones, (N, 3, H, W), in 0..255.
    """
    red, green, blue = pixels.float().unbind(1)
    values = ((red + blue) / 2 - green).unsqueeze(1)
    deviation, mean = torch.std_mean(values, dim=(2, 3), keepdim=True, correction=0)
    return ((values - mean) / deviation.clamp_min(1)).clamp_min(0)


class WithMasked(nn.Module):
    """Normalised images, how magenta each pixel is, and the same images masked, side by side.

    The mask goes by the image's own colours (`magenta`), so that neither brightness nor white
    balance can empty it: a pixel as magenta as the mean of its image, or less, keeps ``left`` of
    its brightness; one that lies a standard deviation above it, or more, keeps all; between them
    it goes evenly.

    Args:
        normalize: raw pixels (N, 3, H, W) in 0..255 to normalised images of the same shape.
        left: what is left of the brightness outside the mask, in [0, 1]; the paper left none.

    Raises:
        UserError: a share that is none.
    """

    def __init__(self, normalize: nn.Module, left: float) -> None:
        """Store the settings."""
        super().__init__()
        check_number("mask.beside", left, "null or in [0, 1]", lambda x: 0 <= x <= 1)
        self.normalize, self.left = normalize, left

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, 7, H, W) of raw pixels (N, 3, H, W)."""
        weights = magenta(pixels)
        kept = self.left + (1 - self.left) * weights.clamp_max(1)
        plain, masked = self.normalize(pixels), self.normalize(pixels.float() * kept)
        return torch.cat([plain, weights, masked], 1)


class PlainAndMasked(nn.Module):
    """The pooled layers of the plain image, and what the whole network makes of the masked one.

    Args:
        plain: images with weights (N, 4, H, W) to embeddings (N, d); its module ``maps`` gives the
            maps of its layers.
        layer4: maps of the last of its layers to maps (N, K, h, w).
        side: that the masked image is seen at, in pixels; as published 224.
    """

    def __init__(self, plain: nn.Module, layer4: nn.Module, side: int = 224) -> None:
        """Store the network in two parts."""
        super().__init__()
        self.plain, self.layer4, self.side = plain, layer4, side

    def below(self, images: torch.Tensor) -> torch.Tensor:
        """Return the masked images' maps (N, J, h, w) that ``layer4`` takes."""
        masked = images[:, 4:]
        if masked.shape[2:] != (self.side, self.side):
            side = (self.side, self.side)
            masked = interpolate(masked, side, mode="bilinear", antialias=True)
        maps: torch.Tensor = list(self.plain.get_submodule("maps")(masked).values())[-1]
        return maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, d + K) of the seven channels of `WithMasked`."""
        upper = self.layer4(self.below(images)).float().mean((2, 3))
        return torch.cat([self.plain(images[:, :4]), upper], 1)


class Below(nn.Module):
    """What lies below ``layer4`` on the masked image's way, as one row an image.

    Args:
        body: of the network.
    """

    def __init__(self, body: PlainAndMasked) -> None:
        """Store the network."""
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return maps (N, J * h * w) of the seven channels of `WithMasked`."""
        return self.body.below(images).flatten(1)


class Upper(nn.Module):
    """``layer4`` and the head, which share their weights with the network that they are of.

    Args:
        body: of the network.
        head: of the network.
        plain_dim: size d of the plain image's part of an embedding.
        channels: of the maps that ``layer4`` takes, J.
    """

    def __init__(
        self, body: PlainAndMasked, head: nn.Module, plain_dim: int, channels: int
    ) -> None:
        """Store the parts."""
        super().__init__()
        self.layer4, self.head = body.layer4, head
        self.plain_dim, self.channels = plain_dim, channels

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C) of rows (N, d + J * h * w): plain embeddings, and `Below`."""
        plain, flat = rows[:, : self.plain_dim], rows[:, self.plain_dim :]
        side = round((flat.shape[1] / self.channels) ** 0.5)
        maps = flat.reshape(-1, self.channels, side, side)
        maps = maps.contiguous(memory_format=torch.channels_last)
        upper = self.layer4(maps).float().mean((2, 3))
        logits: torch.Tensor = self.head(torch.cat([plain, upper], 1))
        return logits


def upper_of(backbone: nn.Module, head: nn.Module) -> tuple[Below, Upper]:
    """Return a network in two parts: what lies below ``layer4``, and ``layer4`` with the head.

    Args:
        backbone: whose ``body`` is a `PlainAndMasked`.
        head: on its embeddings.

    Raises:
        UserError: another network.
    """
    body = getattr(backbone, "body", None)
    if not isinstance(body, PlainAndMasked):
        raise UserError(
            "stage.finetune.upper=true trains the layer4 that a masked image goes through beside "
            "the plain one: use mask=beside, or stages=[head]."
        )
    weight = next(p for p in body.layer4.parameters() if p.ndim == 4)
    plain_dim = backbone.plain_dim
    assert isinstance(plain_dim, int)
    return Below(body), Upper(body, head, plain_dim, weight.shape[1])


def last_layer(body: nn.Module, name: str, layers: Sequence[str]) -> nn.Module:
    """Return the last layer of a ResNet, which the masked image alone goes through.

    Args:
        body: the network.
        name: of it, for errors.
        layers: that the plain image goes through.

    Raises:
        UserError: a network without a ``layer4``, or layers that do not end below it.
    """
    layer = getattr(body, "layer4", None)
    if not isinstance(layer, nn.Module):
        raise UserError(
            f"mask.beside puts the masked image through the layer4 of a ResNet, but "
            f"model.backbone.name={name} has none: use mask.beside=null."
        )
    if layers[-1] != "layer3":
        raise UserError(
            f"mask.beside puts the masked image through all of {name}, so that "
            f"model.backbone.layers has to end with layer3, but got {list(layers)}: use "
            f"mask=none and stages=[head], or experiment=frozen."
        )
    return layer
