"""From the settings ``data.classes``, ``stain``, ``mask`` and ``crop`` to objects."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from leukemia.check import check_switch
from leukemia.classes import Classes
from leukemia.data.image.mask import MaskSpec
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.image.stain import PIXELS, Background, Macenko, Normaliser, Reinhard
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError


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
    ranges: Any = _frozen(cfg.mask.ranges)
    # Runs from before these settings have none of them.
    clusters = {key: cfg.mask[key] for key in ("clusters", "nuclei") if key in cfg.mask}
    mask = MaskSpec(cfg.mask.order, ranges, cfg.mask.background, **clusters)
    scale_bar = cfg.mask.get("scale_bar", "keep")
    check_switch("stain.grey", cfg.stain.grey)
    stain = build_normaliser(cfg)
    return Preprocess(mask, cfg.crop.mode, cfg.crop.size, scale_bar, stain, cfg.stain.grey)


def build_normaliser(cfg: DictConfig) -> Normaliser | None:
    """Return the stain normalisation of ``stain``; ``None`` for ``stain.method=none``.

    Raises:
        UserError: an unknown method, or values that it cannot use.
    """
    method = cfg.stain.method
    if method == "none":
        return None
    if method == "background":
        return Background(**_values(cfg, "glass"))
    if method == "reinhard":
        pixels = cfg.stain.get("pixels", "tissue")
        if pixels not in PIXELS:
            raise UserError(
                f"Expected stain.pixels to be one of {', '.join(PIXELS)}, but got '{pixels}'."
            )
        target = _values(cfg, f"target.{pixels}.mean", f"target.{pixels}.std")
        return Reinhard(**target, **_values(cfg, "glass"), pixels=pixels)
    if method == "macenko":
        return Macenko(**_values(cfg, "stains", "concentrations", "glass"))
    raise UserError(
        f"Expected stain.method to be one of none, background, reinhard, macenko, "
        f"but got '{method}'."
    )


def _values(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """Return values of ``stain`` by the last part of their keys, with tuples for lists."""
    values: dict[str, Any] = {}
    for key in keys:
        value = OmegaConf.select(cfg.stain, key)
        if value is None:
            method = cfg.stain.method
            raise UserError(
                f"stain.method={method} needs stain.{key}: choose it by stain={method}."
            )
        values[key.rpartition(".")[2]] = _frozen(value)
    return values


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, ListConfig) else value


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
