"""The paper's baseline: a small convolutional network."""

from typing import Final

import torch
from torch import nn

from leukemia.check import check_choice, check_count
from leukemia.errors import UserError

INITS: Final = ("torch", "he")

MOST_WIDTH = 16384
SIZE = 224
"""Side of its images in pixels."""


class BaselineCNN(nn.Module):
    """Two convolutions with pooling, two linear layers (paper section 4.1, figure 2).

    3 x 224 x 224 -> 5 x 220 x 220 -> 5 x 110 x 110 -> 10 x 106 x 106 -> 10 x 53 x 53 -> 28,090
    -> ``hidden`` -> ``n_classes``.

    Args:
        n_classes: number of classes.
        hidden: width between the two linear layers; 32 in the authors' code.
        kernel: side of the first convolution: 5 in the paper's text, 3 in the authors' code. The
            shapes after its pooling are the same but for 111 x 111, 107 x 107 with 3.
        init: the first weights: ``torch``, its default, which leaves each layer's output smaller
            than its input; or ``he``, which keeps them alike (doi:10.1109/ICCV.2015.123), with
            logits near 0.
        weights: none: there are no pretrained ones.

    Raises:
        UserError: ``hidden`` is no whole number from 1 on, an unknown ``init``, another kernel, or
            weights.
    """

    is_whole: Final = True  # it answers by itself: there are no embeddings to be frozen
    side: Final = SIZE

    def __init__(
        self,
        n_classes: int = 4,
        hidden: int = 32,
        init: str = "torch",
        kernel: int = 5,
        weights: None = None,
    ) -> None:
        """Build the layers."""
        super().__init__()
        if weights is not None:
            raise UserError(
                f"model=baseline has no pretrained weights, but got "
                f"model.backbone.weights={weights}: use null."
            )
        check_count("model.backbone.hidden", hidden, most=MOST_WIDTH)
        check_choice("model.backbone.kernel", kernel, (3, 5))
        check_choice("model.backbone.init", init, INITS)
        self.features = nn.Sequential(
            nn.Conv2d(3, 5, kernel_size=kernel),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(5, 10, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(10 * 53 * 53, hidden),
            nn.ReLU(),
            nn.Linear(hidden, n_classes),
        )
        if init == "he":
            for name, values in self.named_parameters():
                if name.endswith("bias"):
                    nn.init.zeros_(values)
                elif name == "classifier.3.weight":
                    nn.init.normal_(values, std=0.01)
                else:
                    nn.init.kaiming_normal_(values, nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, n_classes) of images (N, 3, 224, 224), float.

        Raises:
            UserError: images of another shape.
        """
        if tuple(images.shape[1:]) != (3, SIZE, SIZE):
            raise UserError(
                f"Expected images of shape (N, 3, {SIZE}, {SIZE}) for model=baseline, "
                f"but got {tuple(images.shape)}: set crop.size={SIZE}."
            )
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
