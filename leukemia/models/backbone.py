"""Images to embeddings: networks of torchvision without classifiers, the paper's baseline."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from leukemia.errors import UserError, check_choice, check_count
from leukemia.models.embedding import BESIDE_CHANNELS, PlainAndMasked, last_layer, magenta
from leukemia.models.weights import default_state, file_state, load_fitting

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
    """Normalised images, and as a fourth channel how magenta each pixel is (`magenta`).

    Args:
        normalize: raw pixels (N, 3, H, W) in 0..255 to normalised images of the same shape.
    """

    def __init__(self, normalize: nn.Module) -> None:
        """Store the normalisation."""
        super().__init__()
        self.normalize = normalize

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, 4, H, W) of raw pixels (N, 3, H, W)."""
        return torch.cat([self.normalize(pixels), magenta(pixels)], 1)


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


ATTEND = ("null", "magenta")
CLASSIFIERS = ("fc", "classifier", "heads", "head")


class Backbone(nn.Module):
    """A network that turns images into embeddings.

    Args:
        body: normalised images (N, 3, size, size) to embeddings (N, d).
        size: side of the image that finds out d, in pixels.
        channels: of an image.
        resize: side, in pixels, that images are brought to first (bilinear); ``None`` for as
            they are.

    Attributes:
        embed_dim: d.
        plain_dim: how many of these numbers, from the first on, are of the plain image.
        said: one line on its weights.
    """

    def __init__(
        self, body: nn.Module, size: int = 224, channels: int = 3, resize: int | None = None
    ) -> None:
        """Store the network and find its embedding size by a dry run in eval mode."""
        super().__init__()
        self.body, self.resize, self.channels = body, resize, channels
        self.said = type(body).__name__
        training = body.training
        body.eval()
        images = torch.zeros(1, channels, size, size)
        with torch.no_grad():
            self.embed_dim = self.plain_dim = self(images).shape[1]
            if isinstance(body, PlainAndMasked):
                self.plain_dim = body.plain(images[:, :4]).shape[1]
        body.train(training)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (N, embed_dim) of normalised images (N, channels, H, W)."""
        if self.resize is not None:
            side = (self.resize, self.resize)
            images = interpolate(images, side, mode="bilinear", antialias=True)
        embeddings: torch.Tensor = self.body(images)
        return embeddings


def torchvision_backbone(
    name: str,
    weights: str | None = "DEFAULT",
    *,
    size: int = 224,
    layers: Sequence[str] | None = None,
    attend: str | None = None,
    resize: int | None = None,
    masked: bool = False,
    load: bool = True,
) -> Backbone:
    """Return a classification network of torchvision without its classifier.

    Args:
        name: torchvision's name of the network.
        weights: ``None`` for random ones (torch's global seed), ``DEFAULT`` for torchvision's,
            or the path of a file with a state dict in torchvision's names, whole or partial.
            What such a file lacks stays random.
        size: side of the images in pixels.
        layers: embed by the maps of these layers (`PooledLayers`) instead of the last; what comes
            after them is left out.
        attend: ``magenta``: pool the maps a second time by the weights that `WithMagenta` puts
            beside the images; ``None`` for once.
        resize: side, in pixels, that the network sees images at; ``None`` for as they are.
        masked: the images have a masked one beside them (`leukemia.models.embedding`).
        load: fetch the weights; without, a network that is to take its own afterwards.

    Returns:
        The backbone, with one line on the weights that were loaded.

    Raises:
        UserError: an unknown name or layer, ``attend`` without layers, no side to resize to, a
            network that cannot take images of this size, or weights that cannot be had, cannot be
            read or do not fit.
    """
    name, weights = str(name).lower(), None if weights is None else str(weights)
    known = models.list_models(module=models)
    if name not in known:
        close = get_close_matches(name, known, n=3)
        raise UserError(
            f"Expected model.backbone.name to be a classification network of torchvision, "
            f"but got '{name}': "
            + (f"did you mean {', '.join(close)}?" if close else "resnet18, for one.")
        )
    check_choice("model.backbone.attend", "null" if attend is None else attend, ATTEND)
    if attend is not None and layers is None:
        raise UserError(
            f"model.backbone.attend={attend} weighs the maps of layers, but model.backbone.layers "
            f"is null: name layers, as [layer1,layer2,layer3], or use attend=null."
        )
    if masked and attend is None:
        raise UserError(
            "mask.beside goes with model.backbone.attend=magenta and layers up to layer3: "
            "use mask=none and stages=[head], or experiment=frozen."
        )
    if resize is not None:
        check_count("model.backbone.resize", resize)
    body = models.get_model(name, weights=None, **_settings(name, weights))
    _remove_classifier(body)
    whole = body
    if layers is not None:
        body = up_to(body, name, layers)
    loaded = whole if masked else body
    said = "random weights" if weights is None or not load else _load(loaded, name, weights)
    channels = 3 if attend is None else 4
    if layers is not None:
        pooled = PooledLayers(body, weighted=attend is not None)
        body = pooled
        if masked:
            layer4 = last_layer(whole, name, layers)
            body, channels = PlainAndMasked(pooled, layer4, size), BESIDE_CHANNELS
    try:
        backbone = Backbone(body, size, channels, resize)
    except IndexError as error:
        raise UserError(
            f"Expected model.backbone.layers to be layers of {name} that give maps over the image, "
            f"but got {layers}."
        ) from error
    # AssertionError: the vision transformers' check of their fixed size.
    except (RuntimeError, ValueError, AssertionError) as error:
        side, key = (size, "crop.size") if resize is None else (resize, "model.backbone.resize")
        raise UserError(
            f"model.backbone.name={name} cannot take images of {side} x {side} pixels "
            f"({_first_line(error)}): choose another network or another {key}."
        ) from error
    backbone.said = f"{name}: {said}"
    return backbone


def _settings(name: str, weights: str | None) -> dict[str, Any]:
    if name not in ("googlenet", "inception_v3"):
        return {}
    # Without the outputs that only help training. The published weights of these two expect
    # pixels in [-1, 1], which they make from ImageNet's normalisation themselves.
    return {"aux_logits": False, "init_weights": True, "transform_input": weights is not None}


def _remove_classifier(body: nn.Module) -> None:
    """Replace the classifier by what it does before its first dropout or layer of weights.

    For most networks that is nothing. ConvNeXt and MaxViT keep the normalisation that their
    embeddings have always gone through. SqueezeNet, whose classifier is a convolution averaged
    over the image, keeps the average.
    """
    attribute = next(name for name in CLASSIFIERS if hasattr(body, name))
    classifier = getattr(body, attribute)
    layers = list(classifier) if isinstance(classifier, nn.Sequential) else []
    kept = list(takewhile(lambda layer: not isinstance(layer, nn.Dropout | nn.Linear), layers))
    if any(isinstance(layer, nn.Conv2d) for layer in layers):
        kept = [nn.AdaptiveAvgPool2d(1)]
    setattr(body, attribute, nn.Sequential(*kept) if kept else nn.Identity())


def _load(body: nn.Module, name: str, weights: str) -> str:
    if weights == "DEFAULT":
        entry = models.get_model_weights(name).DEFAULT
        state, source = default_state(entry.url), f"torchvision's {entry.name}"
    else:
        path = Path(weights).expanduser()
        state, source = file_state(path), path.name
    # Older files of torchvision say `norm.1` where DenseNet says `norm1` today.
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key): value
        for key, value in state.items()
    }
    ignored = tuple(f"{key}." for key in (*CLASSIFIERS, "aux1", "aux2", "AuxLogits"))
    said, whole = load_fitting(body, state, source, ignored)
    if weights == "DEFAULT" and not whole:
        raise UserError(f"model.backbone.weights=DEFAULT does not fit {name}: {said}.")
    return said


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


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
