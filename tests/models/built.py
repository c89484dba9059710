"""A backbone, and what is said of its weights."""

from typing import Any

from leukemia.models.backbone import Backbone, torchvision_backbone


def built(*args: Any, **settings: Any) -> tuple[Backbone, str]:
    backbone = torchvision_backbone(*args, **settings)
    return backbone, backbone.said
