"""From the settings ``data``, ``split`` and ``augment`` to objects."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from leukemia.build.preprocess import build_classes, build_preprocess
from leukemia.build.source import cache_dir, find_root
from leukemia.build.splits import build_splitter
from leukemia.data.augment import Augmenter, AugmentSpec
from leukemia.data.datamodule import EmbeddingDataModule, SmearDataModule
from leukemia.data.leaky import PooledDataModule
from leukemia.errors import UserError

Sources = SmearDataModule | EmbeddingDataModule


def build_augmenter(cfg: DictConfig) -> Augmenter | None:
    """Return the training augmentation; ``None`` where nothing would happen."""
    values = dict(cfg.augment.spec)
    if OmegaConf.is_list(values["blur_sigma"]):
        values["blur_sigma"] = tuple(values["blur_sigma"])
    spec = AugmentSpec(**values)
    if spec == AugmentSpec():
        return None
    black = cfg.mask.order != "none" and cfg.mask.background == 0
    return Augmenter(spec, cfg.seed, border="black" if black else "reflect")


def build_data(cfg: DictConfig) -> Sources:
    """Return the data module of ``data=``; it has touched no disk but for painted smears."""
    classes, splitter = build_classes(cfg), build_splitter(cfg)
    if cfg.data.name == "embeddings":
        if cfg.split.name == "leaky":
            raise UserError("split=leaky pools views of images: data=embeddings has none.")
        if cfg.data.file is None:
            raise UserError("data=embeddings needs data.file=<a .npz with embeddings and files>.")
        return EmbeddingDataModule(
            Path(str(cfg.data.file)).expanduser(), classes, splitter, seed=cfg.seed
        )
    return (PooledDataModule if cfg.split.name == "leaky" else SmearDataModule)(
        find_root(cfg),
        classes,
        build_preprocess(cfg),
        splitter,
        cache_dir(cfg),
        on_bad=cfg.data.on_bad,
        workers=cfg.data.workers,
        verify=cfg.open_test,
        eval_batch_size=cfg.trainer.eval_batch_size,
        seed=cfg.seed,
        augment=build_augmenter(cfg),
        num_workers=cfg.trainer.num_workers,
    )
