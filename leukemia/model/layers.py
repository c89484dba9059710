"""Embeddings from inside a network: what its earlier layers see, over the whole image."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from leukemia.errors import UserError

_FLAT = 1e-6  # of a map that is the same everywhere; keeps the root's gradient finite
_EVEN = 1e-3  # added to every weight


def up_to(body: nn.Module, name: str, layers: Sequence[str]) -> nn.Module:
    """Return a network that gives the outputs of some of its layers, and ends after the last.

    Args:
        body: images (N, 3, H, W) to anything.
        name: of the network, for errors.
        layers: names of its modules, such as `layer1` of a ResNet, `features.5` of a VGG.

    Raises:
        UserError: no layer, one named twice, or one that the network does not have.
    """
    many = isinstance(layers, Sequence) and not isinstance(layers, str)
    wanted = [str(layer) for layer in layers] if many else []
    known = get_graph_node_names(body)[1]
    whole = dict.fromkeys(node.partition(".")[0] for node in known[1:])
    unknown = [w for w in wanted if not any(f"{node}.".startswith(f"{w}.") for node in known)]
    if not wanted or unknown or len(set(wanted)) < len(wanted):
        raise UserError(
            f"Expected model.backbone.layers to be null or layers of {name}, each once "
            f"({', '.join(whole)}, or one inside of them), but got {wanted if many else layers}."
        )
    extractor: nn.Module = create_feature_extractor(body, wanted)
    return extractor


class WithMagenta(nn.Module):
    """Normalised images, and as a fourth channel how magenta each pixel is.

    That is (R + B) / 2 - G by which a pixel lies above the mean of its image, in standard
    deviations of the image, and 0 below the mean: stained nuclei count, red cells and glass do
    not. The deviation is one grey level or more, so an image without colour has 0 everywhere.

    Args:
        normalize: raw pixels (N, 3, H, W) in 0..255 to normalised images of the same shape.
    """

    def __init__(self, normalize: nn.Module) -> None:
        """Store the normalisation."""
        super().__init__()
        self.normalize = normalize

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, 4, H, W) of raw pixels (N, 3, H, W)."""
        red, green, blue = pixels.float().unbind(1)
        magenta = ((red + blue) / 2 - green).unsqueeze(1)
        deviation, mean = torch.std_mean(magenta, dim=(2, 3), keepdim=True, correction=0)
        weights = ((magenta - mean) / deviation.clamp_min(1)).clamp_min(0)
        return torch.cat([self.normalize(pixels), weights], 1)


class PooledLayers(nn.Module):
    """Mean and standard deviation of each layer's map over the image, side by side.

    Args:
        maps: normalised images (N, 3, H, W) to maps (N, K, h, w) by layer.
        weighted: the images have a fourth channel, weights of 0 or more; each map is pooled a
            second time, by the weights' means over what each of its pixels stands for. Where an
            image has no weight above 0, all pixels count alike.
    """

    def __init__(self, maps: nn.Module, *, weighted: bool = False) -> None:
        """Store the network."""
        super().__init__()
        self.maps, self.weighted = maps, weighted
        self.last = nn.Identity()  # a module whose output is the last map, for Grad-CAM

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, d); d is twice the sum of all K, or four times if weighted."""
        maps = list(self.maps(images[:, :3]).values())
        maps[-1] = self.last(maps[-1])
        parts: list[torch.Tensor] = []
        for each in (found.float() for found in maps):
            parts += _pool(each, torch.ones_like(each[:, :1]))
            if self.weighted:
                parts += _pool(each, adaptive_avg_pool2d(images[:, 3:], each.shape[2:]) + _EVEN)
        return torch.cat(parts, 1)


def _pool(maps: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """Return weighted mean and standard deviation (N, K) of maps (N, K, h, w)."""
    shares = weights / weights.sum((2, 3), keepdim=True)
    mean = (maps * shares).sum((2, 3), keepdim=True)
    variance = ((maps - mean).square() * shares).sum((2, 3))
    return [mean.flatten(1), (variance + _FLAT).sqrt()]
