"""Where a network looks: one map by its gradients, one without them."""

from collections.abc import Sequence

import torch
from captum.attr import LayerAttribution, LayerGradCam, Occlusion
from torch import nn

from leukemia.errors import UserError
from leukemia.models.network import Network

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def log_odds(logits: torch.Tensor, target: Sequence[int]) -> torch.Tensor:
    """Return the log-odds (N,) of some classes against the others, log(p / (1 - p)).

    Unlike a probability it does not saturate, and unlike a logit it does not change when all
    logits rise alike.

    Args:
        logits: (N, C).
        target: indices of the classes, not all C of them.
    """
    wanted = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    wanted[list(target)] = True
    return logits[:, wanted].logsumexp(1) - logits[:, ~wanted].logsumexp(1)


def last_map(network: Network, size: int) -> nn.Module:
    """Find the layer whose output is the backbone's last map of features.

    That is the output of the last convolutional stage: `layer4` of a ResNet, `features` of a
    DenseNet. The last convolution itself would be too little: a DenseNet's makes 32 of 1,024
    channels, a ResNet's lacks the skip around it. A transformer without windows (`vit_*`) has no
    map but that of its patches, its first layer, where Grad-CAM says little.

    Args:
        network: in eval mode.
        size: side of its images in pixels.

    Raises:
        UserError: no layer of the backbone has a map.
    """
    found: list[nn.Module] = []

    def note(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(layer, _POOLS) or not isinstance(output, torch.Tensor) or output.ndim != 4:
            return
        if min(output.shape[2:]) > 1:
            found.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in network.backbone.modules()]
    try:
        with torch.no_grad():
            network.embed(torch.zeros(1, 3, size, size, device=_device(network)))
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UserError("This network has no map of features, so there is no Grad-CAM of it.")
    return found[-1]


def grad_cam(
    network: Network, layer: nn.Module, image: torch.Tensor, target: Sequence[int]
) -> torch.Tensor:
    """Return Grad-CAM (doi:10.1007/s11263-019-01228-7) for the log-odds of some classes.

    Args:
        network: in eval mode.
        layer: of the network, with maps (N, K, h, w) as output, as `last_map` finds it.
        image: raw pixels (3, H, W), in 0..255.
        target: indices of the classes.

    Returns:
        (H, W), 0 or more, without a unit; enlarged from (h, w), so no finer than that. All 0
        where no place speaks for the classes.
    """
    with torch.enable_grad():
        explainer = LayerGradCam(lambda pixels: log_odds(network(pixels), target), layer)
        small = explainer.attribute(_batch(network, image), relu_attributions=True)
    large: torch.Tensor = LayerAttribution.interpolate(
        small.detach(), tuple(image.shape[1:]), "bilinear"
    )
    return large[0, 0].cpu()


@torch.no_grad()
def occlusion(
    network: Network,
    image: torch.Tensor,
    target: Sequence[int],
    *,
    fill: Sequence[float],
    patch: int,
    stride: int,
    batch_size: int = 8,
    half: torch.dtype | None = None,
) -> torch.Tensor:
    """Return by how much the log-odds of some classes fall where a patch is covered.

    It takes no gradient, only forward passes (doi:10.1007/978-3-319-10590-1_53).

    Args:
        network: in eval mode.
        image: raw pixels (3, H, W), in 0..255.
        target: indices of the classes.
        fill: colour of the patch, three values in 0..255.
        patch: side of the square patch in pixels.
        stride: step of the patch in pixels, at most ``patch``; the last one may reach over the
            edge.
        batch_size: covered images a forward pass.
        half: the half precision to mix in; bfloat16 halves the time, and the maps of a ResNet18
            correlate at 0.999 with those without it.

    Returns:
        (H, W), the mean over all patches that cover a pixel, in natural log-odds; below 0 where
        what was covered spoke against the classes.
    """

    def score(covered: torch.Tensor) -> torch.Tensor:
        kind = half or torch.bfloat16
        with torch.autocast(covered.device.type, kind, enabled=half is not None):
            logits = network(covered)
        return log_odds(logits.float(), target)

    pixels = _batch(network, image)
    colour = torch.tensor(fill, dtype=pixels.dtype, device=pixels.device).reshape(1, 3, 1, 1)
    found: torch.Tensor = Occlusion(score).attribute(
        pixels,
        sliding_window_shapes=(3, patch, patch),
        strides=(3, stride, stride),
        baselines=colour.expand_as(pixels),
        perturbations_per_eval=batch_size,
    )
    return found[0, 0].cpu()


def _batch(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    batch = image.float()[None].to(_device(network))
    return batch.contiguous(memory_format=torch.channels_last)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
