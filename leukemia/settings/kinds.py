"""What a setting may be: the kinds, which the files of ``conf`` cannot tell of all, and a test."""

import math
import re
from enum import StrEnum


class Kind(StrEnum):
    """What a setting may be, in words."""

    NODE = "settings of its own"
    SWITCH = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a finite number"
    TEXT = "text"
    PATH = "a path"
    LIST = "a list"
    FREE = "names with values"
    NULL = "null"


ALSO: dict[str, tuple[Kind, ...]] = {
    "resume": (Kind.PATH,),
    "open_test": (Kind.SWITCH,),
    "report.map": (Kind.TEXT, Kind.NULL),
    "data.root": (Kind.PATH,),
    "data.file": (Kind.PATH,),
    "data.groups": (Kind.PATH,),
    "data.cache_dir": (Kind.PATH,),
    "data.workers": (Kind.WHOLE,),
    "data.on_bad": (Kind.TEXT,),
    "data.floors": (Kind.FREE, Kind.PATH),
    "data.classes.names": (Kind.LIST, Kind.NULL),
    "data.classes.benign": (Kind.TEXT, Kind.LIST, Kind.NULL),
    "data.classes.benign[]": (Kind.TEXT,),
    "data.pattern": (Kind.TEXT, Kind.NULL),
    "data.labels": (Kind.FREE, Kind.NULL),
    "data.extensions": (Kind.LIST, Kind.NULL),
    "data.extensions[]": (Kind.TEXT,),
    "split.file": (Kind.PATH,),
    "stain.glass[]": (Kind.NUMBER,),
    "loss.class_weights": (Kind.LIST,),
    "loss.class_weights[]": (Kind.NUMBER,),
    "model.backbone.weights": (Kind.PATH,),
    "model.backbone.layers": (Kind.LIST, Kind.NULL),
    "model.backbone.layers[]": (Kind.TEXT,),
    "model.backbone.attend": (Kind.TEXT, Kind.NULL),
    "model.backbone.resize": (Kind.WHOLE, Kind.NULL),
    "mask.beside": (Kind.NUMBER, Kind.NULL),
    "model.head.linear_dim": (Kind.WHOLE, Kind.NULL),
    "stage.head.rates": (Kind.FREE, Kind.NULL),
    "stage.finetune.rates": (Kind.FREE, Kind.NULL),
    "stage.finetune.blend": (Kind.LIST, Kind.NULL),
    "stage.finetune.blend[]": (Kind.NUMBER,),
    "stage.head.ema_decay": (Kind.NUMBER, Kind.NULL),
    "stage.head.patience": (Kind.WHOLE, Kind.NULL),
    "stage.finetune.ema_decay": (Kind.NUMBER, Kind.NULL),
    "stage.finetune.patience": (Kind.WHOLE, Kind.NULL),
    "trainer.max_epochs": (Kind.WHOLE,),
    "trainer.precision": (Kind.TEXT,),
    "trainer.accelerator": (Kind.TEXT,),
    **dict.fromkeys(
        ("trainer.min_epochs", "trainer.min_steps", "trainer.log_every_n_steps"), (Kind.WHOLE,)
    ),
    **dict.fromkeys(
        (
            *("trainer.limit_train_batches", "trainer.limit_val_batches"),
            *("trainer.val_check_interval", "trainer.gradient_clip_val"),
        ),
        (Kind.WHOLE, Kind.NUMBER),
    ),
    "trainer.max_time": (Kind.TEXT, Kind.FREE),
    "trainer.fast_dev_run": (Kind.WHOLE,),
    "trainer.benchmark": (Kind.SWITCH,),
    "trainer.gradient_clip_algorithm": (Kind.TEXT,),
    "trainer.profiler": (Kind.TEXT, Kind.NODE),
    "trainer.strategy": (Kind.TEXT, Kind.NODE),
    "trainer.plugins": (Kind.LIST,),
    "trainer.plugins[]": (Kind.NODE,),
    "stage.head.schedule": (Kind.NODE,),
    "stage.finetune.schedule": (Kind.NODE,),
    "stain.mean": (Kind.LIST,),
    "stain.mean[]": (Kind.NUMBER,),
    "stain.std": (Kind.LIST,),
    "stain.std[]": (Kind.NUMBER,),
    "stain._target_": (Kind.TEXT,),
    "trainer.devices": (Kind.LIST, Kind.TEXT),
    "trainer.devices[]": (Kind.WHOLE,),
    "runtime.threads": (Kind.WHOLE,),
    "runtime.num_workers": (Kind.WHOLE,),
    "runtime.eval_batch_size": (Kind.WHOLE,),
    "runtime.save_every": (Kind.NUMBER,),
    "logger.wandb.project": (Kind.TEXT,),
    "logger.wandb.group": (Kind.TEXT,),
    "logger.wandb.tags[]": (Kind.TEXT,),
    "logger.wandb.timeout": (Kind.NUMBER,),
    "logger": (Kind.NODE, Kind.NULL),
    "callbacks": (Kind.NODE, Kind.NULL),
    "logger.mlflow.tracking_uri": (Kind.TEXT, Kind.NULL),
    "study.exclude[]": (Kind.FREE,),
    "study.pruner": (Kind.NULL,),
    "suite.perturbations": (Kind.LIST,),
    "suite.perturbations[]": (Kind.TEXT,),
    "suite.limit": (Kind.WHOLE,),
    "run": (Kind.PATH,),
    "runs": (Kind.LIST,),
    "runs[]": (Kind.PATH,),
    "part": (Kind.TEXT,),
    "input": (Kind.PATH, Kind.LIST),
    "input[]": (Kind.PATH,),
    "output": (Kind.PATH,),
    "format": (Kind.TEXT,),
    "dir": (Kind.PATH,),
    "keep": (Kind.PATH,),
    "dashboard": (Kind.TEXT,),
    **{f"protocols.{name}": (Kind.NULL,) for name in ("paper", "stratified", "grouped", "kfold")},
}
# Texts that choose, where nothing else looks at them before images are read.
CHOICES = {
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda"),
    "trainer.precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
    "report.map": ("tsne", "umap"),
    "data.on_bad": ("error", "skip"),
    "split.validation": ("random", "block"),
    "split.test": ("pooled", "paper"),
    "stage.head.monitor": ("nll", "accuracy"),
    "stage.finetune.monitor": ("nll", "accuracy"),
    "study.chart": ("bars", "heatmap", "curves", "search"),
}
# Flags of Lightning's Trainer that a run settles itself, and what says the same here.
SETTLED = {
    "trainer.callbacks": "callbacks=<name> adds one",
    "trainer.logger": "logger=<name> chooses them",
    "trainer.enable_progress_bar": "runtime.progress=false hides the bar",
    "trainer.enable_checkpointing": "a run always keeps its best weights; see runtime.keep_last",
    "trainer.default_root_dir": "hydra.run.dir=<folder> names the run's",
    "trainer.limit_test_batches": "figures are of whole parts",
    "trainer.limit_predict_batches": "figures are of whole parts",
    "trainer.overfit_batches": "trainer.limit_train_batches=<number> trains on so many",
    "trainer.check_val_every_n_epoch": "every epoch is validated; stage.<stage>.monitor=null never",
    "trainer.use_distributed_sampler": "the data module shares its rows out itself",
    "trainer.num_nodes": "launcher=submitit runs trials on several machines",
    "trainer.barebones": "a run measures and reports",
}
_LONGEST = 4096  # of a text: what Linux allows of a path


def kinds_of(value: object) -> tuple[Kind, ...]:
    """Return what a value in a file of ``conf`` tells of a setting's kind."""
    if isinstance(value, str) and "${" in value:
        # Of a variable of the system, with what is taken in its absence.
        return (Kind.NULL,) if re.fullmatch(r"\$\{oc\.env:\w+,null\}", value) else ()
    for kind, python in (
        (Kind.NULL, type(None)),
        (Kind.SWITCH, bool),
        (Kind.WHOLE, int),
        (Kind.NUMBER, float),
        (Kind.TEXT, str),
        (Kind.LIST, list),
        (Kind.NODE, dict),
    ):
        if isinstance(value, python):
            return (kind,)
    raise TypeError(f"conf holds {value!r}")


def fits(value: object, kind: Kind) -> bool:
    """Whether a value is of a kind."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is Kind.NULL:
        return value is None
    if kind is Kind.SWITCH:
        return isinstance(value, bool)
    if kind is Kind.WHOLE:
        return number and isinstance(value, int) and -(2**63) <= value < 2**63
    if kind is Kind.NUMBER:
        return number and finite(value)
    if kind in (Kind.TEXT, Kind.PATH):  # a folder may be called 1
        return _written(value) if isinstance(value, str) else number and finite(value)
    if kind is Kind.LIST:
        return isinstance(value, list)
    return isinstance(value, dict)


def finite(value: object) -> bool:
    """Whether a value is text, or a finite number."""
    try:
        return isinstance(value, str) or math.isfinite(float(value))  # type: ignore[arg-type]
    except OverflowError:
        return False


def _written(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return 0 < len(text) <= _LONGEST and text.isprintable() and bool(text.strip())


def shown(value: object, *, quote: bool = True) -> str:
    """Return a value as a message shows it: one line, not too long."""
    # Ten digits and more than a line of a value help nobody; a whole number may have thousands.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a number of very many digits"
    text = repr(value) if quote else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
