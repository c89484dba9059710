"""A network's convolutions in 8-bit integers, for processors that multiply these fastest."""

from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F

from leukemia.models.backbone import PooledLayers
from leukemia.models.network import Network, Normalize

LEVELS = 250
"""Of an image's largest activation; below 255, which rounding must not pass."""

LEAST_SHARE = 0.5
"""Of a backbone's weights, that must lie in convolutions in integers to be worth the change."""

_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.Sigmoid, F.relu, F.relu6, torch.relu, torch.sigmoid)
_KEEP_SIGN = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout, torch.cat),
)


class _Filters:
    """The filters of a convolution in integers, each with a scale of its own, as oneDNN has them.

    Args:
        weight: (C', C, h, w).
        conv: stride and dilation.
        padding: zeros on each side, (2,).
    """

    def __init__(self, weight: torch.Tensor, conv: nn.Conv2d, padding: list[int]) -> None:
        """Round the weights and lay them out."""
        self.scales = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        self.zeros = torch.zeros(len(weight), dtype=torch.int8)
        self.geometry = (list(conv.stride), padding, list(conv.dilation), 1)
        rounded = (weight / self.scales[:, None, None, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qconv_prepack(rounded, self.scales, 1.0, 0, *self.geometry)

    def __call__(
        self, inputs: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return the outputs of inputs (N, C, H, W) of uint8, as floats."""
        sums: torch.Tensor = torch.ops.onednn.qconv2d_pointwise(
            *(inputs, 1.0, 0, self.weight, self.scales, self.zeros, bias, *self.geometry),
            *(1.0, 0, dtype, "none", [None], ""),
        )
        return sums


class IntegerConv(nn.Module):
    """A convolution of activations from 0 on, multiplied in 8-bit integers.

    Each image of a batch has a scale of its own, found anew from its largest activation. So
    nothing is to be calibrated on images beforehand, and what is said of an image does not
    depend on the others in its batch.

    Args:
        conv: what is to be computed; one group, padded with zeros or not at all.
        dtype: of inputs and outputs, float32 or bfloat16.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        """Round the weights."""
        super().__init__()
        self.filters = _Filters(conv.weight.detach().float(), conv, _padding(conv))
        self.bias = _bias(conv).to(dtype).reshape(1, -1, 1, 1)
        self.bits = torch.int16 if dtype == torch.bfloat16 else torch.int32

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs (N, C', H', W') of activations (N, C, H, W), none below 0."""
        # Numbers from 0 on are ordered as their bits are, and integers compared far sooner.
        largest = inputs.view(self.bits).amax((1, 2, 3), keepdim=True).view(inputs.dtype)
        levels = LEVELS / largest.clamp_min(1e-6)
        # By way of signed integers, which torch makes from floats six times as fast.
        signed = (inputs * levels).sub_(128).round_().to(torch.int8)
        rounded = signed.view(torch.uint8).bitwise_xor_(128)
        return torch.addcmul(self.bias, self.filters(rounded, None, inputs.dtype), 1 / levels)


class IntegerStem(nn.Module):
    """Normalisation and the first convolution in one, on the raw pixels, which are integers.

    Args:
        normalize: less ``mean``, by ``std``, of pixels in [0, 1].
        conv: what is to be computed; see `IntegerConv`.
        dtype: of outputs.
    """

    def __init__(self, normalize: Normalize, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        """Bring mean and deviation into the weights."""
        super().__init__()
        weight, self.dtype, self.padding = conv.weight.detach().float(), dtype, _padding(conv)
        self.filters = _Filters(weight / (255 * normalize.std), conv, [0, 0])
        self.bias = _bias(conv) - (weight * normalize.mean / normalize.std).sum((1, 2, 3))
        # Which becomes zero, as the convolution's own padding is.
        self.border = (255 * normalize.mean).round().to(torch.uint8).flatten()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the outputs (N, C', H', W') of raw pixels (N, 3, H, W), uint8."""
        (n, _, height, width), (above, beside) = pixels.shape, self.padding
        framed = self.border.repeat(n, height + 2 * above, width + 2 * beside, 1)
        framed = framed.permute(0, 3, 1, 2)  # channels last in memory
        framed[:, :, above : above + height, beside : beside + width] = pixels
        return self.filters(framed, self.bias, self.dtype)


class IntegerNetwork(nn.Module):
    """A `Network` whose backbone computes in integers where that is fast.

    Args:
        backbone: raw pixels to embeddings.
        head: embeddings to logits, in float32.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        """Store the parts."""
        super().__init__()
        self.backbone, self.head = backbone, head

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (N, d) of raw images (N, 3, H, W), uint8."""
        embedding: torch.Tensor = self.backbone(inputs).float()
        return embedding

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, C) of raw images (N, 3, H, W), uint8."""
        logits: torch.Tensor = self.head(self.embed(inputs))
        return logits


def is_fast() -> bool:
    """Whether this processor and torch's build multiply 8-bit integers fast, and exactly."""
    # Without these instructions sums of products are cut off at 16 bits.
    return bool(torch._C._has_mkldnn and torch.cpu._is_vnni_supported())


def in_integers(network: Network, dtype: torch.dtype = torch.bfloat16) -> IntegerNetwork | None:
    """Return a copy of a network in eval mode that computes in integers.

    BatchNorm is folded into the convolutions before it. A convolution whose input may fall below
    0 stays as it is, and so do grouped ones, whose time goes elsewhere.

    Args:
        network: on the CPU, in eval mode; it is not changed.
        dtype: in which the rest computes.

    Returns:
        ``None`` where nothing would be gained: for a network that cannot be traced, or has too
        little of its weights in such convolutions.
    """
    # What inner maps lose by rounding, a discriminant on them may enlarge: not measured.
    inner = any(isinstance(module, PooledLayers) for module in network.backbone.modules())
    if inner or not is_fast():
        return None
    try:
        backbone: Any = fuse(network.backbone)
    except Exception:  # whatever a network's own code raises when its inputs are symbols
        return None
    modules: dict[str, Any] = dict(backbone.named_modules())
    stem, places = _convolutions(backbone, modules)
    weights = sum(modules[place].weight.numel() for place in places)
    enough = weights >= LEAST_SHARE * sum(weight.numel() for weight in backbone.parameters())
    normalize = network.normalize
    # What each image is divided by cannot be brought into the weights.
    if not isinstance(normalize, Normalize) or normalize.per_image or stem is None or not enough:
        return None
    backbone.to(dtype).to(memory_format=torch.channels_last)
    _replace(backbone, stem, IntegerStem(normalize, modules[stem], dtype))
    for place in places:
        _replace(backbone, place, IntegerConv(modules[place], dtype))
    return IntegerNetwork(backbone, network.head).eval()


def _convolutions(traced: fx.GraphModule, modules: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Return where the convolutions are that can be computed in integers: first the stem."""

    def does(node: fx.Node) -> object:
        return type(modules[str(node.target)]) if node.op == "call_module" else node.target

    def from_zero(node: fx.Node) -> bool:
        if does(node) in _RECTIFIERS:
            return True
        return does(node) in _KEEP_SIGN and all(map(from_zero, node.all_input_nodes))

    stem, places = None, []
    for node in traced.graph.nodes:
        if does(node) is nn.Conv2d and _is_plain(modules[str(node.target)]):
            (before,) = node.all_input_nodes
            if before.op == "placeholder" and len(before.users) == 1:
                stem = str(node.target)
            elif from_zero(before):
                places.append(str(node.target))
    return stem, places


def _replace(traced: fx.GraphModule, place: str, module: nn.Module) -> None:
    parent, _, name = place.rpartition(".")
    setattr(traced.get_submodule(parent), name, module)


def _is_plain(conv: nn.Conv2d) -> bool:
    zeros = conv.padding_mode == "zeros" and conv.padding != "same"
    return conv.groups == 1 and zeros


def _padding(conv: nn.Conv2d) -> list[int]:
    return [0, 0] if isinstance(conv.padding, str) else list(conv.padding)


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().float()
