"""From the settings ``data.classes``, ``mask`` and ``crop`` to objects."""

from omegaconf import DictConfig

from leukemia.classes import Classes
from leukemia.data.cache import Preprocess
from leukemia.data.mask import MaskSpec


def build_classes(cfg: DictConfig) -> Classes:
    """Return the class scheme of ``data.classes``."""
    return Classes(tuple(cfg.data.classes.names), cfg.data.classes.benign)


def build_preprocess(cfg: DictConfig) -> Preprocess:
    """Return mask, scale bar, crop and size."""
    ranges = tuple((tuple(low), tuple(high)) for low, high in cfg.mask.ranges)
    mask = MaskSpec(cfg.mask.order, ranges, cfg.mask.background)
    # Runs from before that setting kept it.
    scale_bar = cfg.mask.get("scale_bar", "keep")
    return Preprocess(mask, cfg.crop.mode, cfg.crop.size, scale_bar)
