"""From the settings ``data`` to folders; without torch, which some verbs need not wait for."""

from pathlib import Path

from omegaconf import DictConfig

from leukemia.data.synthetic import paint_smears
from leukemia.errors import UserError


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
