"""Linear heads that know their data before any gradient, for embeddings of a frozen backbone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf
from sklearn.preprocessing import StandardScaler
from torch import nn

from leukemia.errors import UserError, check_number
from leukemia.models.head import WIDTHS, LinearHead, ResidualHead, Whitening, check_covariance

FOLDS = 8
_HOTTEST = 1000.0
_LEAST = 1e-9  # variance that every direction has, of rows whose features have 1

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class _Discriminant(LinearHead):
    """A linear head that can be set by `fit_discriminant`."""

    def start(
        self,
        embeddings: npt.NDArray[np.float32],
        labels: Ints,
        weights: torch.Tensor | None = None,
        sources: Ints | None = None,
    ) -> None:
        """Become the discriminant of embeddings, see `fit_discriminant`."""
        fit_discriminant(self, embeddings, labels, weights, sources)


class DiscriminantHead(_Discriminant):
    """A linear head in closed form: linear discriminant analysis, and no gradient.

    Args:
        in_dim: size d of an embedding.
        n_classes: number of classes.

    Raises:
        UserError: embeddings that are too long for a covariance.
    """

    closed_form = True

    def __init__(self, in_dim: int, n_classes: int = 4) -> None:
        """Build the layer."""
        super().__init__(in_dim, n_classes)


class WhitenedHead(_Discriminant):
    """A linear layer that starts as the discriminant, and goes on by gradients from there.

    Its embeddings are in coordinates where the classes' common covariance is even.

    Args:
        in_dim: size d of an embedding.
        n_classes: number of classes.
        dropout: share of the embedding set to zero in training, in [0, 1).

    Raises:
        UserError: a dropout out of range, or embeddings that are too long for a covariance.
    """

    def __init__(self, in_dim: int, n_classes: int = 4, dropout: float = 0.0) -> None:
        """Build the layer."""
        super().__init__(in_dim, n_classes, dropout, whiten=True)


class CorrectedHead(nn.Module):
    """The linear discriminant, and a share of the published residual classifier added to it.

    logits = linear(whitened embedding) + share * residual(whitened embedding, the rest of it).
    The discriminant of many features separates its training images, so beside it the residual
    classifier would find nothing left to learn: each is trained by itself, and in training mode
    the logits are those of the residual classifier alone. The linear part is set by `start`.

    Args:
        in_dim: size d of an embedding.
        widths: of the residual classifier, see `ResidualHead`.
        n_classes: number of classes C.
        dropout: of the residual classifier, in [0, 1).
        standardize: of the residual classifier, see `ResidualHead`.
        plain_dim: how many numbers of an embedding, from the first on, the discriminant reads:
            those of the plain image, where a masked one stands beside it; ``None`` for all. The
            residual classifier reads these, whitened, and the others.
        share: what the residual classifier's logits are multiplied by, 0 or more.

    Raises:
        UserError: a setting that cannot be, or more numbers than an embedding has.
    """

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int] = WIDTHS,
        n_classes: int = 4,
        dropout: float = 0.5,
        *,
        standardize: bool = False,
        plain_dim: int | None = None,
        share: float = 1.0,
    ) -> None:
        """Build both parts."""
        super().__init__()
        if plain_dim is not None and not 1 <= plain_dim <= in_dim:
            raise UserError(
                f"Expected model.head.plain_dim to be from 1 to {in_dim}, the numbers of an "
                f"embedding, but got {plain_dim}."
            )
        check_number("model.head.share", share, "a number from 0 on", lambda x: x >= 0)
        self.plain_dim = in_dim if plain_dim is None else plain_dim
        self.share = share
        self.linear = WhitenedHead(self.plain_dim, n_classes)
        self.residual = ResidualHead(in_dim, widths, n_classes, dropout, standardize=standardize)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, C) of embeddings (N, in_dim); see the class for training mode."""
        own = embeddings[:, : self.plain_dim]
        rest = embeddings[:, self.plain_dim :].float()
        read = torch.cat([self.linear.standardize(own), rest], 1)
        residual: torch.Tensor = self.residual(read)
        if self.training:
            return residual
        linear: torch.Tensor = self.linear(own)
        return linear + self.share * residual

    def start(
        self,
        embeddings: npt.NDArray[np.float32],
        labels: Ints,
        weights: torch.Tensor | None = None,
        sources: Ints | None = None,
    ) -> None:
        """Set the linear part to the discriminant, see `fit_discriminant`."""
        self.linear.start(embeddings[:, : self.plain_dim], labels, weights, sources)


@torch.no_grad()
def fit_discriminant(
    head: LinearHead,
    embeddings: npt.NDArray[np.float32],
    labels: Ints,
    weights: torch.Tensor | None = None,
    sources: Ints | None = None,
) -> float:
    """Set a linear head by linear discriminant analysis.

    Its logits are the logarithms of the posterior under Gaussian classes of one covariance, up to
    a constant, divided by `shift_temperature`. The covariance is shrunk (Ledoit and Wolf,
    doi:10.1016/S0047-259X(03)00096-4), so embeddings may be longer than there are images.

    A head with ``whiten`` also gets coordinates that suit gradients: in them the covariance that
    the classes have in common, shrunk, is the identity times 1 / d, so that an embedding is about
    as long as 1 and no direction is steeper than another.

    Args:
        head: without ``standardize``: the scale of the embeddings goes into the weights.
        embeddings: (N, d).
        labels: (N,), each of the head's classes at least twice.
        weights: what an image of each class counts (C,); ``None`` for 1.
        sources: (N,) which image an embedding shows; ``None`` where each shows one of its own.

    Returns:
        The temperature.

    Raises:
        UserError: a class without two images, or embeddings too long for a covariance.
    """
    rows, mean, deviation = _standardized(embeddings, labels, head.classify.out_features)
    temperature = shift_temperature(rows, labels, sources)
    coefficients, offsets, covariance = _discriminant(rows, labels)
    if isinstance(head.standardize, Whitening):
        values, vectors = np.linalg.eigh(covariance)
        scale = np.sqrt(np.maximum(values, 1e-6 * values[-1]) * len(values))
        head.standardize.mean.copy_(torch.from_numpy(mean))
        head.standardize.matrix.copy_(torch.from_numpy(vectors / scale / deviation[:, None]))
        coefficients = coefficients @ vectors * scale
    else:
        coefficients /= deviation
        offsets = offsets - coefficients @ mean
    head.classify.weight.copy_(torch.from_numpy(coefficients / temperature))
    head.classify.bias.copy_(torch.from_numpy(offsets / temperature))
    if weights is not None:
        head.classify.bias.add_(weights.log())
    return temperature


def _standardized(
    embeddings: npt.NDArray[np.float32], labels: Ints, n_classes: int
) -> tuple[Floats, Floats, Floats]:
    """Return the rows with mean 0 and deviation 1, and what those of the features were."""
    counts = np.bincount(labels, minlength=n_classes)
    if counts.min() < 2:
        raise UserError(
            f"A discriminant needs two training images of each class or more, "
            f"but got {counts.tolist()}: use head=linear."
        )
    check_covariance(embeddings.shape[1])
    values = embeddings.astype(np.float64)
    mean, deviation = values.mean(0), values.std(0)
    deviation[deviation == 0] = 1
    return (values - mean) / deviation, mean, deviation


def shift_temperature(rows: Floats, labels: Ints, sources: Ints | None = None) -> float:
    """Return what logits are divided by so that they are as sure as they are right elsewhere.

    A discriminant is far too sure of images unlike those it was fitted to, and a validation part
    drawn at random is like them. So the images of each class are put into clusters that look
    alike (k-means), which stand for acquisitions; each is judged by a discriminant fitted without
    it, and the temperature with the lowest negative log-likelihood of all of them is taken.

    Args:
        rows: (N, d), standardised.
        labels: (N,), each of 0 to C - 1 at least twice.
        sources: see `fit_discriminant`; the views of an image stay together, and the first of
            them is judged.

    Returns:
        1 or more; 1 where a class has fewer than four images, or none that differ.
    """
    sources = np.arange(len(rows)) if sources is None else sources
    first, place = np.unique(sources, return_index=True, return_inverse=True)[1:]
    folds = min(FOLDS, int(np.bincount(labels[first]).min()) // 2)
    if folds < 2:
        return 1.0
    cluster = look_alikes(rows[first], labels[first], folds)
    logits: list[Floats] = []
    truth: list[Ints] = []
    for fold in range(folds):
        held = first[cluster == fold]
        fitted = cluster[place] != fold
        if len(np.unique(labels[fitted])) < len(np.unique(labels)):
            return 1.0  # a class of which all images are the same
        coefficients, offsets, _ = _discriminant(rows[fitted], labels[fitted])
        logits.append(rows[held] @ coefficients.T + offsets)
        truth.append(labels[held])
    table, right = np.concatenate(logits), np.concatenate(truth)

    def loss(log_temperature: float) -> float:
        scores = log_softmax(table / np.exp(log_temperature), axis=1)
        return float(-scores[np.arange(len(right)), right].mean())

    found = minimize_scalar(loss, bounds=(0, np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def look_alikes(rows: npt.NDArray[np.floating], labels: Ints, clusters: int) -> Ints:
    """Return in which of its class's clusters each image is, (N,): a stand-in for acquisitions.

    Args:
        rows: one standardised embedding of each image, (N, d).
        labels: (N,).
        clusters: of each class, by k-means; no class has fewer images.
    """
    found = np.empty(len(rows), np.int64)
    for label in np.unique(labels):
        chosen = labels == label
        found[chosen] = KMeans(clusters, n_init=4, random_state=0).fit_predict(rows[chosen])
    return found


def _discriminant(rows: Floats, labels: Ints) -> tuple[Floats, Floats, Floats]:
    """Return coefficients (C, d) and offsets (C,) of the logits, and the covariance (d, d).

    What scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")`` returns, in
    half the time for long embeddings: its least squares decompose a matrix that is definite.
    """
    priors = np.bincount(labels) / len(labels)
    means = np.stack([rows[labels == label].mean(0) for label in range(len(priors))])
    covariance = _LEAST * np.eye(rows.shape[1])
    for label, prior in enumerate(priors):
        scaler = StandardScaler()
        scaled = scaler.fit_transform(rows[labels == label])
        shrunk, _ = ledoit_wolf(scaled, assume_centered=True)
        covariance += prior * scaler.scale_ * shrunk * scaler.scale_[:, None]
    coefficients = solve(covariance, means.T, assume_a="pos").T
    return coefficients, np.log(priors) - (means * coefficients).sum(1) / 2, covariance
