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
    "stage.head.blend": (Kind.LIST, Kind.NULL),
    "stage.head.blend[]": (Kind.NUMBER,),
    "stage.finetune.blend": (Kind.LIST, Kind.NULL),
    "stage.finetune.blend[]": (Kind.NUMBER,),
    "stage.head.ema_decay": (Kind.NUMBER, Kind.NULL),
    "stage.head.patience": (Kind.WHOLE, Kind.NULL),
    "stage.finetune.ema_decay": (Kind.NUMBER, Kind.NULL),
    "stage.finetune.patience": (Kind.WHOLE, Kind.NULL),
    "trainer.max_epochs": (Kind.WHOLE,),
    "trainer.precision": (Kind.TEXT,),
    "trainer.accelerator": (Kind.TEXT,),
    "trainer.devices": (Kind.LIST, Kind.TEXT),
    "trainer.devices[]": (Kind.WHOLE,),
    "trainer.threads": (Kind.WHOLE,),
    "trainer.num_workers": (Kind.WHOLE,),
    "trainer.eval_batch_size": (Kind.WHOLE,),
    "trainer.save_every": (Kind.NUMBER,),
    "logger.project": (Kind.TEXT,),
    "logger.group": (Kind.TEXT,),
    "logger.tags[]": (Kind.TEXT,),
    "logger.timeout": (Kind.NUMBER,),
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
