"""A masked image beside the plain one: two views of a smear through one network."""

import torch
from torch import nn
from torch.nn.functional import interpolate

from leukemia.check import check_number
from leukemia.errors import UserError

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
            "the plain one: use mask=beside, or stage.finetune.upper=false."
        )
    weight = next(p for p in body.layer4.parameters() if p.ndim == 4)
    embed_dim, channels = backbone.embed_dim, weight.shape[1]
    assert isinstance(embed_dim, int)
    above = [p.shape[0] for p in body.layer4.parameters() if p.ndim == 4][-1]
    return Below(body), Upper(body, head, embed_dim - above, channels)


def last_layer(body: nn.Module, name: str) -> nn.Module:
    """Return the last layer of a ResNet, which the masked image alone goes through.

    Raises:
        UserError: a network without a ``layer4``.
    """
    layer = getattr(body, "layer4", None)
    if not isinstance(layer, nn.Module):
        raise UserError(
            f"mask.beside puts the masked image through the layer4 of a ResNet, but "
            f"model.backbone.name={name} has none: use mask.beside=null."
        )
    return layer
