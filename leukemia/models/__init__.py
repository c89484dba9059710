"""A batch becomes logits and a loss.

The names of ``__all__`` are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from leukemia import lazy

if TYPE_CHECKING:
    from leukemia.models.backbone import Backbone, BaselineCNN, torchvision_backbone
    from leukemia.models.classifier import Classifier
    from leukemia.models.discriminant import DiscriminantHead, WhitenedHead
    from leukemia.models.embedding import embed
    from leukemia.models.explanation import grad_cam, occlusion
    from leukemia.models.head import LinearHead, ResidualHead
    from leukemia.models.loss import DualLoss, DualTerms
    from leukemia.models.network import Network, Normalize, Outputs
    from leukemia.models.schedule import Constant, Cosine, Exponential, OneCycle, Step

__all__ = [
    "Backbone",
    "BaselineCNN",
    "Classifier",
    "Constant",
    "Cosine",
    "DiscriminantHead",
    "DualLoss",
    "DualTerms",
    "Exponential",
    "LinearHead",
    "Network",
    "Normalize",
    "OneCycle",
    "Outputs",
    "ResidualHead",
    "Step",
    "WhitenedHead",
    "embed",
    "grad_cam",
    "occlusion",
    "torchvision_backbone",
]

__getattr__ = lazy(
    __name__,
    {
        "Backbone": "backbone",
        "BaselineCNN": "backbone",
        "Classifier": "classifier",
        "Constant": "schedule",
        "Cosine": "schedule",
        "DiscriminantHead": "discriminant",
        "DualLoss": "loss",
        "DualTerms": "loss",
        "Exponential": "schedule",
        "LinearHead": "head",
        "Network": "network",
        "Normalize": "network",
        "OneCycle": "schedule",
        "Outputs": "network",
        "ResidualHead": "head",
        "Step": "schedule",
        "WhitenedHead": "discriminant",
        "embed": "embedding",
        "grad_cam": "explanation",
        "occlusion": "explanation",
        "torchvision_backbone": "backbone",
    },
)
