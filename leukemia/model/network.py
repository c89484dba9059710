"""The whole network: raw pixels in, logits or probabilities out."""

from typing import NamedTuple, Protocol

import torch
from torch import nn

from leukemia.errors import UserError


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


class Outputs(NamedTuple):
    """What a network makes of N inputs.

    Args:
        probabilities: of the classes, (N, C), float64; means over all views.
        single: those of the inputs as they are, (N, C), float64.
        embeddings: of the inputs as they are, (N, d), float32.
    """

    probabilities: torch.Tensor
    single: torch.Tensor
    embeddings: torch.Tensor


def judge_batch(
    network: Embedder, inputs: torch.Tensor, *, tta: bool = False, channels_last: bool = False
) -> Outputs:
    """Return what a network in eval mode makes of a batch.

    Args:
        network: in two steps.
        inputs: raw images (N, 3, H, W), or embeddings (N, d), of which there is but one view.
        tta: average the probabilities over the eight flips and quarter turns.
        channels_last: hand images to the network in that memory format.
    """
    views = _views(inputs, tta=tta, channels_last=channels_last)
    embeddings = [network.embed(view) for view in views]
    scores = [network.head(embedding).double().softmax(1) for embedding in embeddings]
    return Outputs(torch.stack(scores).mean(0), scores[0], embeddings[0].float())


def check_finite(found: Outputs, whose: str) -> None:
    """Refuse answers that are no numbers, which would else be taken for a class.

    Args:
        found: of N inputs.
        whose: the run or the training, in words.

    Raises:
        UserError: one is not finite.
    """
    fine = [torch.isfinite(values).flatten(1).all(1) for values in found]
    bad = int((~torch.stack(fine).all(0)).sum())
    if bad:
        raise UserError(
            f"The network of {whose} answers {bad} of {len(found.probabilities)} images with what "
            f"is no finite number: its weights, or the precision here, do not serve. Use "
            f"trainer.precision=32-true, or train anew with a lower learning rate."
        )


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
