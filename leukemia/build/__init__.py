"""The only place where a config becomes objects."""

from leukemia.build.data import Sources, build_classes, build_data
from leukemia.build.model import (
    build_classifier,
    build_hardware,
    build_loss,
    build_network,
    build_stage_data,
    build_stages,
    check_settings,
)

__all__ = [
    "Sources",
    "build_classes",
    "build_classifier",
    "build_data",
    "build_hardware",
    "build_loss",
    "build_network",
    "build_stage_data",
    "build_stages",
    "check_settings",
]
