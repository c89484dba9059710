"""What a run's predictions become: tables, figures and the report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig, OmegaConf

from leukemia.build.describe import known_floors
from leukemia.data.parts import Split
from leukemia.report.card import write_card
from leukemia.report.findings import Findings
from leukemia.report.history import read_history
from leukemia.report.html import write_report
from leukemia.report.metrics import summarize
from leukemia.report.predictions import Predictions
from leukemia.run import RunDir
from leukemia.settings import is_refitted

if TYPE_CHECKING:
    from leukemia.build.data import Sources

NOT_LEAKPROOF = (
    "Parts are disjoint in files and identical copies, not in patients: no patient ids exist."
)
GROUPS_KEPT = (
    "Parts are disjoint in files, identical copies and the groups of data.groups; in patients only "
    "where those are patients."
)
REFITTED = (
    "The figures of validation, and what was chosen on it, are of weights that learnt from the "
    "training part alone; those kept, which test sees, were then fitted again on both."
)
PAINTED = (
    "PAINTED SMEARS: these figures show that the framework works and say nothing about "
    "leukemia. Set LEUKEMIA_DATA to train on real images."
)


def record(
    run: RunDir, data: "Sources", part: str, probabilities: npt.NDArray[np.float64]
) -> tuple[Predictions, dict[str, Any]]:
    """Write the predictions of a part and return them with their figures.

    Args:
        run: where ``predictions/<part>.csv`` goes.
        data: set up, with the part.
        part: train, val or test.
        probabilities: (N, C), in the order of the part's rows.
    """
    rows = data.parts[part]
    predictions = Predictions(
        tuple(data.manifest.files[row] for row in rows),
        data.manifest.labels[rows],
        probabilities,
        data.classes,
    )
    predictions.write(run.predictions(part))
    return predictions, mark(data.split, summarize(predictions, data.split.groups[rows]))


def write_page(
    run: RunDir,
    cfg: DictConfig,
    *,
    title: str,
    metrics: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Predictions],
    environment: Mapping[str, Any],
    notes: Sequence[str],
    shown: Mapping[str, Any],
) -> None:
    """Write ``report.html`` and the model card of a run whose history.csv stands.

    Args:
        run: its directory.
        cfg: its settings.
        title: heading.
        metrics: figures by part.
        predictions: the tables they were computed from.
        environment: as in environment.json.
        notes: what a reader must know.
        shown: what `describe_run` returned.
    """
    findings = Findings(
        title=heading(cfg, title),
        metrics=metrics,
        predictions=predictions,
        history=read_history(run.history),
        config_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        environment=environment,
        notes=notes,
        floors=known_floors(cfg),
        **shown,
    )
    write_report(run.report, findings)
    write_card(run.card, findings)


def heading(cfg: DictConfig, title: str) -> str:
    """Return a report's heading, which says so where the run's split leaks on purpose."""
    return f"LEAKY SPLIT: {title}" if cfg.split.name == "leaky" else title


def mark(split: Split, figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a part, with ``leaky: true`` where its split leaks on purpose."""
    return {**figures, "leaky": True} if split.protocol == "leaky" else figures


def caveats(cfg: DictConfig, split: Split) -> list[str]:
    """The notes without which no figure of a run's data may be read."""
    refitted = [REFITTED] if is_refitted(cfg) else []
    if cfg.data.name == "synthetic":
        return [*split.warnings, *refitted, PAINTED]
    kept = GROUPS_KEPT if cfg.data.get("groups") else NOT_LEAKPROOF
    return [*(split.warnings or [kept]), *refitted]
