"""Leukemia: experiments on blood-smear images whose numbers can be trusted.

`train` and `load` are all that most scripts need; the parts are in `leukemia.data`,
`leukemia.models`, `leukemia.training` and `leukemia.measure`.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leukemia.classes import Classes
    from leukemia.errors import UserError
    from leukemia.runs.predictor import Predictor, Trained

    def train(
        overrides: Sequence[str] = (), config_dir: "str | PathLike[str] | None" = None
    ) -> Trained:
        """Train by the settings of ``conf/``; the module `leukemia.train` can be called."""


__version__ = "0.1.0"
__all__ = ["Classes", "Predictor", "Trained", "UserError", "load", "train"]


def lazy(package: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """Return a ``__getattr__`` of a package that imports its public names when they are asked for.

    So ``import leukemia`` never waits for torch.

    Args:
        package: its name.
        places: the module inside of it that holds each name; "" where the name is a module.
    """

    def find(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not places[name]:
            return import_module(f"{package}.{name}")
        return getattr(import_module(f"{package}.{places[name]}"), name)

    return find


__getattr__ = lazy(
    __name__,
    {
        "Classes": "classes",
        "Predictor": "runs.predictor",
        "Trained": "runs.predictor",
        "UserError": "errors",
        "train": "",
    },
)


def load(run: "str | PathLike[str]", *, trust: bool = False, **settings: object) -> "Predictor":
    """Open a finished run to judge images with: ``leukemia.load(run).predict(images)``.

    Args:
        run: a folder that `leukemia.train` wrote and finished, or one of `leukemia.export`'s
            ``format=hf``.
        trust: whether the run may name classes that are not of this package, torch, torchvision,
            lightning, torchmetrics or albumentations: opening it executes them.
        **settings: of ``trainer`` and ``runtime`` that shall differ from the run's, such as
            ``accelerator="cpu"`` or ``tta=True``.

    Raises:
        leukemia.errors.UserError: it is no run directory, is not finished, was trained on
            embeddings, or a file of it is not what it was finished with.
    """
    found: Predictor = import_module("leukemia.runs.predictor").open_predictor(
        run, trust=trust, **settings
    )
    return found
