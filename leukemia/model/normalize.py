"""Raw pixels to a network's input."""

from collections.abc import Sequence

import torch
from torch import nn

from leukemia.check import check_choice

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
