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

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, d + K) of the seven channels of `WithMasked`."""
        masked = images[:, 4:]
        if masked.shape[2:] != (self.side, self.side):
            side = (self.side, self.side)
            masked = interpolate(masked, side, mode="bilinear", antialias=True)
        upper: torch.Tensor = self.layer4(
            list(self.plain.get_submodule("maps")(masked).values())[-1]
        )
        return torch.cat([self.plain(images[:, :4]), upper.float().mean((2, 3))], 1)


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
