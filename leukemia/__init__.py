"""Leukemia: experiments on blood-smear images whose numbers can be trusted."""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leukemia.runs.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["load"]


def load(run: "str | PathLike[str]", *, trust: bool = False, **settings: object) -> "Predictor":
    """Open a finished run to judge images with: ``leukemia.load(run).predict(images)``.

    Args:
        run: a folder that `leukemia.train` wrote and finished.
        trust: whether the run may name classes that are not of this package, torch, torchvision,
            lightning, torchmetrics or albumentations: opening it executes them.
        **settings: of ``trainer`` and ``runtime`` that shall differ from the run's, such as
            ``accelerator="cpu"`` or ``tta=True``.

    Raises:
        leukemia.errors.UserError: it is no run directory, is not finished, was trained on
            embeddings, or a file of it is not what it was finished with.
    """
    from leukemia.runs.predictor import open_predictor  # here, so that `import leukemia` is quick

    return open_predictor(run, trust=trust, **settings)
