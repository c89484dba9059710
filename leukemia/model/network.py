"""The whole network: raw pixels in, logits or probabilities out."""

from typing import Protocol

import torch
from torch import nn


class Network(nn.Module):
    """Normalisation, backbone and head in one module, so that it takes raw pixels.

    Args:
        normalize: raw pixels (N, 3, H, W) in 0..255 to the backbone's input.
        backbone: input to embeddings (N, d).
        head: embeddings to logits (N, C).
    """

    def __init__(self, normalize: nn.Module, backbone: nn.Module, head: nn.Module) -> None:
        """Assemble the parts."""
        super().__init__()
        self.normalize, self.backbone, self.head = normalize, backbone, head

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (N, d) of raw inputs."""
        embedding: torch.Tensor = self.backbone(self.normalize(inputs))
        return embedding

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, C) of raw inputs."""
        logits: torch.Tensor = self.head(self.embed(inputs))
        return logits


class Embedder(Protocol):
    """A network in two steps: `Network`, also in integers."""

    head: nn.Module

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (N, d) of raw images (N, 3, H, W)."""


def class_probabilities(
    network: nn.Module, inputs: torch.Tensor, *, tta: bool = False, channels_last: bool = False
) -> torch.Tensor:
    """Return the probabilities (N, C) of a batch, in float64.

    Args:
        network: inputs to logits (N, C), in eval mode.
        inputs: raw images (N, 3, H, W), or embeddings (N, d), of which there is but one view.
        tta: average the probabilities over the eight flips and quarter turns.
        channels_last: hand images to the network in that memory format.
    """
    views = _views(inputs, tta=tta, channels_last=channels_last)
    return torch.stack([network(view).double().softmax(1) for view in views]).mean(0)


def probabilities_and_embeddings(
    network: Embedder, images: torch.Tensor, *, tta: bool = False, channels_last: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `class_probabilities` of raw images, and the embeddings (N, d) of the first view."""
    views = _views(images, tta=tta, channels_last=channels_last)
    embeddings = [network.embed(view) for view in views]
    scores = [network.head(embedding).double().softmax(1) for embedding in embeddings]
    return torch.stack(scores).mean(0), embeddings[0].float()


def _views(inputs: torch.Tensor, *, tta: bool, channels_last: bool) -> list[torch.Tensor]:
    views = [inputs]
    if tta and inputs.ndim == 4:
        views = [
            torch.rot90(side, turn, (2, 3))
            for side in (inputs, inputs.flip(3))
            for turn in range(4)
        ]
    if channels_last and inputs.ndim == 4:
        views = [view.contiguous(memory_format=torch.channels_last) for view in views]
    return views
