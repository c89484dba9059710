"""Embeddings from inside a network: what its earlier layers see, over the whole image."""

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from leukemia.errors import UserError

_FLAT = 1e-6  # of a map that is the same everywhere; keeps the root's gradient finite


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


class PooledLayers(nn.Module):
    """Mean and standard deviation of each layer's map over the image, side by side.

    Args:
        maps: normalised images (N, 3, H, W) to maps (N, K, h, w) by layer.
    """

    def __init__(self, maps: nn.Module) -> None:
        """Store the network."""
        super().__init__()
        self.maps = maps
        self.last = nn.Identity()  # a module whose output is the last map, for Grad-CAM

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, d) of normalised images; d is twice the sum of all K."""
        maps = list(self.maps(images).values())
        maps[-1] = self.last(maps[-1])
        parts: list[torch.Tensor] = []
        for each in maps:
            variance, mean = torch.var_mean(each.float(), dim=(2, 3), correction=0)
            parts += [mean, (variance + _FLAT).sqrt()]
        return torch.cat(parts, 1)
