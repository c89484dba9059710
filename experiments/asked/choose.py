"""Grouped folds of files 001-400 alone: which layers, masks and shares bear new acquisitions?

python experiments/asked/choose.py WEIGHTS layers    # the linear discriminant on each of them
python experiments/asked/choose.py WEIGHTS shares    # of a correction of it by layer4

224 pixels, every image as it is (no drawn view), five folds that keep the audit's groups whole.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from leukemia.classes import Classes
from leukemia.data.cache import open_pixels
from leukemia.data.files.manifest import Manifest, build_manifest
from leukemia.data.image.mask import MaskSpec
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.image.stain import Background
from leukemia.data.split.grouped import kfold_split
from leukemia.data.split.groups import join_groups
from leukemia.models.backbone import WithMagenta, torchvision_backbone
from leukemia.models.discriminant import CorrectedHead, fit_discriminant
from leukemia.models.embedding import WithMasked, embed
from leukemia.models.head import LinearHead
from leukemia.models.loss import DualLoss
from leukemia.models.network import Network, Normalize
from leukemia.models.schedule import OneCycle, decay_groups

GROUPS = Path(__file__).parent.parent / "trust" / "audit" / "groups.csv"
CLASSES = Classes(("Benign", "Early", "Pre", "Pro"), "Benign")
LAYERS = ("layer1", "layer2", "layer3", "layer4")
WIDTHS = (64, 128, 256, 512)
LINEAR = 4 * sum(WIDTHS[:3])
SHARES = (0, 0.1, 0.25, 0.5, 0.75, 1)
# Name of a mask, its order, what is left outside, and whether the glass is divided by first.
MASKS = (
    ("none", "none", 0.0, False),
    ("kmeans, 0.7 left", "kmeans", 0.7, True),
    ("kmeans, 0.35 left", "kmeans", 0.35, True),
    ("published, 0.35 left", "published", 0.35, True),
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def selection(root: Path, cache: Path) -> tuple[Manifest, Ints, Ints]:
    """Return all images, the rows of 001-400, and the audit's group of each of these."""
    manifest = build_manifest(root, CLASSES, cache_dir=cache)
    groups = join_groups(manifest, GROUPS)
    numbers = [int(Path(name).stem.rpartition("-")[2]) for name in manifest.files]
    rows = np.flatnonzero(np.array(numbers) <= 400)
    return manifest, rows, groups[rows]


def told(name: str, predicted: Ints, labels: Ints) -> None:
    """Print a line of the table."""
    missed = int(((predicted == 0) & (labels > 0)).sum())
    recalls = [float((predicted[labels == k] == k).mean()) for k in range(4)]
    listed = " ".join(f"{recall:.3f}" for recall in recalls)
    print(f"{name}: {(predicted == labels).mean():.4f}, {missed} missed, recalls {listed}")


def columns(layers: list[int]) -> Ints:
    """Return the columns of some layers in an embedding by all four."""
    ends = np.cumsum([0, *(4 * width for width in WIDTHS)])
    return np.concatenate([np.arange(ends[k - 1], ends[k]) for k in layers])


def by_layers(weights: str, root: Path, cache: Path) -> None:
    """Print the discriminant's figures by mask and layers."""
    manifest, rows, groups = selection(root, cache)
    chosen = manifest.take(rows)
    for name, order, left, divided in MASKS:
        stain = Background(glass=(246, 254, 249)) if divided else None
        preprocess = Preprocess(MaskSpec(order=order, background=left), stain=stain)
        backbone = torchvision_backbone("resnet18", weights, layers=LAYERS, attend="magenta")
        network = Network(WithMagenta(Normalize("imagenet")), backbone, torch.nn.Identity())
        network.to(memory_format=torch.channels_last)
        pixels = open_pixels(root, manifest, preprocess, cache)
        table = embed(network, pixels, rows, batch_size=16, half=torch.bfloat16)[:, 0]
        for layers in ([1, 2, 3], [1, 2, 3, 4], [3, 4], [4]) if order == "none" else ([1, 2, 3],):
            part, predicted = table[:, columns(layers)], np.zeros(len(rows), np.int64)
            for fold in range(5):
                split = kfold_split(chosen, groups, 4, seed=0, folds=5, fold=fold).parts
                learnt, judged = np.r_[split["train"], split["val"]], split["test"]
                head = LinearHead(part.shape[1])
                fit_discriminant(head, part[learnt], chosen.labels[learnt])
                with torch.no_grad():
                    logits = head(torch.from_numpy(part[judged]))
                predicted[judged] = logits.argmax(1).numpy()
            told(f"{name}, layers {layers}", predicted, chosen.labels)


def by_shares(weights: str, root: Path, cache: Path) -> None:
    """Print the figures of a discriminant and so much of a correction of it by layer4."""
    manifest, rows, groups = selection(root, cache)
    chosen, labels = manifest.take(rows), torch.from_numpy(manifest.labels[rows])
    backbone = torchvision_backbone(
        "resnet18", weights, layers=LAYERS[:3], attend="magenta", masked=True
    )
    network = Network(WithMasked(Normalize("imagenet"), 0.3), backbone, torch.nn.Identity())
    network.to(memory_format=torch.channels_last)
    pixels = open_pixels(root, manifest, Preprocess(MaskSpec(order="none")), cache)
    table = embed(network, pixels, rows, batch_size=16, half=torch.bfloat16)[:, 0]
    inputs, loss = torch.from_numpy(table), DualLoss(cancer_weight=2.0)
    predicted = {share: np.zeros(len(rows), np.int64) for share in SHARES}
    for fold in range(5):
        split = kfold_split(chosen, groups, 4, seed=0, folds=5, fold=fold).parts
        learnt, judged = split["train"], split["test"]
        torch.manual_seed(0)
        head = CorrectedHead(table.shape[1], standardize=True, linear_dim=LINEAR)
        fit_discriminant(
            head.linear, table[learnt][:, :LINEAR], chosen.labels[learnt], loss.class_weights
        )
        with torch.no_grad():
            linear = head.linear(inputs[:, :LINEAR])
        correct(head.correction, linear, inputs[:, LINEAR:], labels, learnt, loss)
        with torch.no_grad():
            correction = head.correction(inputs[:, LINEAR:])
        for share in SHARES:
            logits = linear[judged] + share * correction[judged]
            predicted[share][judged] = logits.argmax(1).numpy()
            nll = float(cross_entropy(logits, labels[judged]))
            print(f"fold {fold}, share {share}: nll {nll:.4f}")
    for share in SHARES:
        told(f"share {share}", predicted[share], chosen.labels)


def correct(
    correction: torch.nn.Module,
    linear: torch.Tensor,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    learnt: Ints,
    loss: DualLoss,
) -> None:
    """Train a correction of linear logits: 15 epochs, one-cycle to 1e-3, batches of 128."""
    groups = decay_groups(correction.named_parameters(), 0.01)
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    batches, epochs, rng = len(learnt) // 128, 15, np.random.default_rng(0)
    schedule = OneCycle(peak=0.25)(optimizer, batches * epochs)
    correction.train()
    for _ in range(epochs):
        order = rng.permutation(learnt)
        for start in range(batches):
            rows = order[start * 128 : (start + 1) * 128]
            terms = loss(linear[rows] + correction(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            terms.loss.backward()
            optimizer.step()
            schedule.step()
    correction.eval()


if __name__ == "__main__":
    root = Path(os.environ["LEUKEMIA_DATA"])
    cache = Path(os.environ.get("LEUKEMIA_CACHE", "~/.cache/leukemia")).expanduser()
    {"layers": by_layers, "shares": by_shares}[sys.argv[2]](sys.argv[1], root, cache)
