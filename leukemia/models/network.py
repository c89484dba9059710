"""The whole network: raw pixels in, logits or probabilities out."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import nn

from leukemia.errors import UserError, check_choice


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


# Mean and standard deviation in R, G, B. For `image` the deviation is the least that an image's
# own counts for, one grey level: an even image has no contrast to scale up.
_CONSTANTS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "train": ((float("nan"),) * 3, (float("nan"),) * 3),  # until they are known
    "image": ((0.0,) * 3, (1 / 255,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}


class Normalize(nn.Module):
    """Raw pixels to a network's input, inside the model, so that an exported one needs no more.

    Args:
        scheme: ``imagenet`` (less the mean, by the standard deviation of ImageNet), ``train``
            (the same of the images that the run learns from: see `use`), ``image``
            (each image's channels less their own mean, by their own standard deviation: its
            brightness, contrast and white balance no longer count) or ``none`` (the paper's).

    Raises:
        UserError: another scheme.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, scheme: str = "imagenet") -> None:
        """Store mean and standard deviation."""
        super().__init__()
        check_choice("model.normalize", scheme, tuple(_CONSTANTS))
        self.per_image = scheme == "image"
        mean, std = _CONSTANTS[scheme]
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1))

    def use(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take mean and standard deviation of pixels in [0, 1], in R, G, B, for ``train``."""
        self.mean.copy_(torch.tensor(mean).reshape(3, 1, 1))
        self.std.copy_(torch.tensor(std).reshape(3, 1, 1).clamp_min(1 / 255))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 of the same shape, from pixels (N, 3, H, W), uint8 or float in 0..255."""
        scaled = pixels.float() / 255
        if self.per_image:
            std, mean = torch.std_mean(scaled, dim=(2, 3), keepdim=True)
            return (scaled - mean) / torch.maximum(std, self.std)
        return (scaled - self.mean) / self.std
