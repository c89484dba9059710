"""From the settings ``data.classes``, ``stain``, ``mask`` and ``crop`` to objects."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from leukemia.classes import Classes
from leukemia.data.files.folders import Layout, find_names
from leukemia.data.image.mask import MaskSpec
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError, check_switch
from leukemia.settings.objects import call, make, prepare
from leukemia.settings.schema import TARGET


def build_classes(cfg: DictConfig) -> Classes:
    """Return the class scheme of ``data.classes``.

    Raises:
        UserError: the names are no list, or `Classes` refuses them.
    """
    names = cfg.data.classes.names
    if not OmegaConf.is_list(names):
        raise UserError(f"Expected data.classes.names to be a list of folders, but got {names!r}.")
    # A folder may be called 1.
    benign = cfg.data.classes.benign
    several = tuple(map(str, benign)) if OmegaConf.is_list(benign) else str(benign)
    return Classes(tuple(map(str, names)), None if benign is None else several)


def build_preprocess(cfg: DictConfig) -> Preprocess:
    """Return stain normalisation, mask, scale bar, crop and size."""
    mask = make(cfg.mask, "mask", MaskSpec, own=("scale_bar", "beside"))
    check_switch("stain.grey", cfg.stain.grey)
    stain = None
    if cfg.stain[TARGET] is not None:
        stain = call(prepare(cfg.stain, "stain", own=("grey",)), "stain")
    return Preprocess(mask, cfg.crop.mode, cfg.crop.size, cfg.mask.scale_bar, stain, cfg.stain.grey)


def cache_dir(cfg: DictConfig) -> Path:
    """Return the folder of ``data.cache_dir``."""
    return Path(str(cfg.data.cache_dir)).expanduser()


def find_root(cfg: DictConfig) -> Path:
    """Return the folder of images, painted first for ``data=synthetic``.

    Raises:
        UserError: no folder is named.
    """
    if cfg.data.name == "synthetic":
        folder = cache_dir(cfg) / f"synthetic-{cfg.data.per_class}-{cfg.data.paint_seed}"
        return paint_smears(folder, per_class=cfg.data.per_class, seed=cfg.data.paint_seed)
    if cfg.data.root is None:
        remedy = (
            "set LEUKEMIA_DATA or data.root to its folder (Kaggle 'mehradaria/leukemia', "
            "subfolder Original), or use data=synthetic"
            if cfg.data.name == "aria"
            else "set data.root to a folder with one subfolder a class"
        )
        raise UserError(f"data={cfg.data.name} has no images: {remedy}.")
    return Path(str(cfg.data.root)).expanduser()


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
