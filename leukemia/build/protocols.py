"""The splits under which an audit scores the shortcuts."""

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig, OmegaConf

from leukemia.build.splits import make_parts
from leukemia.data.groups import identical_groups
from leukemia.data.manifest import Manifest
from leukemia.errors import UserError
from leukemia.report.floors import Protocol

_BY_GROUPS = ("grouped", "kfold")


def build_protocols(
    cfg: DictConfig, manifest: Manifest, related: npt.NDArray[np.int64]
) -> tuple[dict[str, Protocol], list[str]]:
    """Make the splits of ``protocols`` that the images allow.

    The machine learns from train and validation together, and is scored on test; under kfold
    every fold is the test part once, and they are scored together.

    Args:
        cfg: the audit's settings.
        manifest: the N images.
        related: groups that ``grouped`` and ``kfold`` keep whole, (N,), with identical files
            together.

    Returns:
        The protocols by name, and a line for each that is not possible, with the reason.
    """
    identical = identical_groups(manifest.sha256)
    protocols, notes = {}, []
    for name, split in cfg.protocols.items():
        if split is None:  # left out by the user
            continue
        groups = related if name in _BY_GROUPS else identical
        n_folds = split.folds if name == "kfold" else 1
        folds = []
        try:
            for fold in range(n_folds):
                if name == "kfold":
                    split = OmegaConf.merge(split, {"fold": fold})
                made = make_parts(
                    split, manifest, identical, groups,
                    n_classes=len(cfg.data.classes.names), seed=cfg.seed,
                )  # fmt: skip
                parts = made.parts
                folds.append((np.concatenate([parts["train"], parts["val"]]), parts["test"]))
        except UserError as error:
            notes.append(f"No floors under split={name}: {error}")
        else:
            protocols[name] = Protocol(folds, groups)
    return protocols, notes
