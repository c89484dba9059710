"""What can be told wrong of a training's settings before any image is read."""

from omegaconf import DictConfig, OmegaConf

from leukemia.check import check_count
from leukemia.compose.data import build_augmenter, build_splitter
from leukemia.compose.model import build_stages, check_views
from leukemia.compose.network import MOST_PIXELS, MOST_THREADS, check_runtime, takes_network
from leukemia.compose.parts import (
    build_callbacks,
    build_loss,
    build_optimizer,
    build_schedule,
)
from leukemia.compose.preprocess import build_classes, build_preprocess
from leukemia.errors import UserError
from leukemia.settings import schema
from leukemia.settings.objects import prepare, target_of
from leukemia.training.stage import Stage

LARGEST_SEED = 2**32 - 1  # that numpy's older generators, inside scikit-learn, take


def check_settings(cfg: DictConfig) -> None:
    """Refuse what can be told wrong before any image is read.

    Raises:
        UserError: a setting of the loss, a stage, a schedule, the crop or the backbone that
            cannot be.
    """
    schema.check(cfg, "train")
    check_count("seed", cfg.seed, 0, LARGEST_SEED)
    check_runtime(cfg.runtime)
    build_loss(cfg)
    build_callbacks(cfg)
    prepare(cfg.trainer, "trainer")
    images = cfg.data.name != "embeddings"
    if cfg.data.get("workers") is not None:
        check_count("data.workers", cfg.data.workers, most=MOST_THREADS)
    if cfg.data.name == "synthetic":
        check_count("data.per_class", cfg.data.per_class, most=100_000)
        check_count("data.paint_seed", cfg.data.paint_seed, 0)
    if images:
        check_count("crop.size", cfg.crop.size, most=MOST_PIXELS)
        build_preprocess(cfg)
    resize = OmegaConf.select(cfg, "model.backbone.resize")
    if resize is not None:
        check_count("model.backbone.resize", resize, most=MOST_PIXELS)
    build_splitter(cfg)
    check_views(cfg, augments=images and build_augmenter(cfg) is not None)
    network = prepare(cfg.model.backbone, "model.backbone") if takes_network(cfg) else None
    side = getattr(getattr(network, "func", None), "side", None)
    if images and side is not None and cfg.crop.size != side:
        raise UserError(
            f"model={cfg.model.name} takes images of {side} x {side} pixels alone, "
            f"but got crop.size={cfg.crop.size}: set crop.size={side}."
        )
    if images and cfg.stain.grey and cfg.model.backbone.get("attend") is not None:
        raise UserError(
            "model.backbone.attend=magenta weighs pixels by their colour, which stain.grey=true "
            "takes away: use model.backbone.attend=null."
        )
    stages = build_stages(cfg)
    for name, values in cfg.stage.items():
        build_optimizer(cfg, str(name))
        build_schedule(cfg, str(name))
        Stage(str(name), values.epochs, values.monitor, values.patience, values.ema_decay)
        # Ten times the images there are is one batch, as a million is.
        check_count(f"stage.{name}.batch_size", values.batch_size, 2, 10**6)
    head = target_of(cfg.model.head, "model.head")
    weights = (cfg.loss.get("lambda_nll", 1), cfg.loss.get("lambda_bce", 1))
    usual = (1, 1) if build_classes(cfg).has_cancer else (1, 0)
    if getattr(head, "closed_form", False) and len(stages) == 1 and weights != usual:
        raise UserError(
            f"head=discriminant minimises no loss, so loss.lambda_nll={weights[0]} and "
            f"loss.lambda_bce={weights[1]} would change nothing: leave both at 1, "
            f"or use another head=."
        )
