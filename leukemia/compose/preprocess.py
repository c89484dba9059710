"""From the settings ``data.classes``, ``stain``, ``mask`` and ``crop`` to objects."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from leukemia.check import check_switch
from leukemia.classes import Classes
from leukemia.data.image.mask import MaskSpec
from leukemia.data.image.preprocess import Preprocess
from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError
from leukemia.settings.objects import TARGET, call, make, prepare


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
    mask = make(cfg.mask, "mask", MaskSpec, own=("scale_bar",))
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
