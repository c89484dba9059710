"""The whole network: raw pixels in, logits out."""

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
