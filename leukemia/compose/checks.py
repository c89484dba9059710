"""What can be told wrong of a training's settings before any image is read."""

from omegaconf import DictConfig, OmegaConf
from torch import nn

from leukemia.check import check_count
from leukemia.compose.data import build_augmenter, build_splitter
from leukemia.compose.model import build_loss, build_stages, check_views, head_fit
from leukemia.compose.network import MOST_PIXELS, MOST_THREADS, check_trainer
from leukemia.compose.preprocess import build_classes, build_preprocess
from leukemia.errors import UserError
from leukemia.models.baseline import SIZE as BASELINE_SIZE
from leukemia.models.schedule import ScheduleSpec, make_optimizer
from leukemia.settings import schema
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
    check_trainer(cfg.trainer)
    build_loss(cfg)
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
    if images and cfg.model.name == "baseline" and cfg.crop.size != BASELINE_SIZE:
        raise UserError(
            f"model=baseline takes images of {BASELINE_SIZE} x {BASELINE_SIZE} pixels alone, "
            f"but got crop.size={cfg.crop.size}: set crop.size={BASELINE_SIZE}."
        )
    if images and cfg.stain.grey and cfg.model.backbone.get("attend") is not None:
        raise UserError(
            "model.backbone.attend=magenta weighs pixels by their colour, which stain.grey=true "
            "takes away: use model.backbone.attend=null."
        )
    stages = build_stages(cfg)
    for name, values in cfg.stage.items():
        used = any(stage.name == name for stage in stages)
        # What only the schedule of a stage that runs decides, is asked of that one alone.
        ScheduleSpec(**{**values.schedule, **({} if used else {"name": "constant"})})
        make_optimizer(nn.Linear(1, 1).named_parameters(), **values.optimizer)
        Stage(str(name), values.epochs, values.monitor, values.patience, values.ema_decay)
        # Ten times the images there are is one batch, as a million is.
        check_count(f"stage.{name}.batch_size", values.batch_size, 2, 10**6)
    weights = (cfg.loss.lambda_nll, cfg.loss.lambda_bce)
    usual = (1, 1) if build_classes(cfg).has_cancer else (1, 0)
    if head_fit(cfg) == "discriminant" and len(stages) == 1 and weights != usual:
        raise UserError(
            f"head=discriminant minimises no loss, so loss.lambda_nll={weights[0]} and "
            f"loss.lambda_bce={weights[1]} would change nothing: leave both at 1, "
            f"or use another head=."
        )
