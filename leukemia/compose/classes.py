"""From the settings ``data.classes``, ``data.pattern`` and what goes with it to objects."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from leukemia.compose.preprocess import build_classes, find_root
from leukemia.data.files.folders import Layout, find_names
from leukemia.errors import UserError

PLAIN = {"loss.lambda_bce": 0.0, "loss.cancer_weight": 1.0}
"""Settings that say nothing where no class is benign, and what they then are: so config.yaml tells
what a run did."""


def build_layout(cfg: DictConfig) -> Layout:
    """Return how the files tell their classes: by folders, or by ``data.pattern``.

    Raises:
        UserError: a pattern or suffixes that cannot be.
    """
    data = cfg.data  # other data sets than folders, and runs from before, have no such settings
    pattern, extensions = data.get("pattern"), data.get("extensions") or ()
    labels = tuple((str(key), str(value)) for key, value in (data.get("labels") or {}).items())
    if labels and pattern is None:
        raise UserError(
            "data.labels names the classes that data.pattern's group (?P<label>...) tells: set "
            "data.pattern too, or data.labels=null."
        )
    return Layout(
        None if pattern is None else str(pattern), labels, tuple(str(e).lower() for e in extensions)
    )


def settle_classes(cfg: DictConfig, typed: Sequence[str] = ()) -> None:
    """Fix the classes in the settings, before any of them is used or written down.

    Names that are not set are those of the folders. Where no class is benign, the loss has no
    term that tells cancer from benign.

    Args:
        cfg: the settings, changed in place.
        typed: what was given on the command line or is varied by a study, ``key=value``.

    Raises:
        UserError: names that cannot be, a folder that holds no classes, or a setting of the loss
            that was given although no class is benign.
    """
    if cfg.data.classes.names is None:
        cfg.data.classes.names = _names(cfg)
    if build_classes(cfg).has_cancer:
        return
    for text in typed:
        key, _, given = text.lstrip("+").partition("=")
        if key in PLAIN and not _is(given, PLAIN[key]):
            raise UserError(
                f"{key} weighs cancer against benign, and no class is benign "
                f"(data.classes.benign=null): drop it or use {key}={PLAIN[key]:g}, or name the "
                f"classes that are benign."
            )
    for key, value in PLAIN.items():
        if OmegaConf.select(cfg, key) is not None:
            OmegaConf.update(cfg, key, value)


def _is(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False


def _names(cfg: DictConfig) -> list[str]:
    if cfg.data.name == "embeddings":
        raise UserError(
            "data=embeddings takes its classes from data.classes.names=[...]: name the first part "
            "of each entry of its files."
        )
    names = list(find_names(find_root(cfg), build_layout(cfg)))
    if odd := [name for name in names if "${" in name or name == "???"]:
        raise UserError(f"The folder '{odd[0]}' cannot be the name of a class: rename it.")
    return names
