"""Where figures go beside the run directory: nowhere, or Weights & Biases."""

import os
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from omegaconf import DictConfig, OmegaConf

from leukemia.errors import UserError


class Tracker(Protocol):
    """Takes figures while a run goes on."""

    def log(self, row: dict[str, Any]) -> None:
        """Take the row of one epoch."""

    def summary(self, metrics: dict[str, dict[str, Any]]) -> None:
        """Take the final figures by part."""

    def finish(self) -> None:
        """Close the tracker."""


class NoTracker:
    """Keeps nothing: history.csv and metrics.json hold it all."""

    def log(self, row: dict[str, Any]) -> None:
        """Drop the row."""

    def summary(self, metrics: dict[str, dict[str, Any]]) -> None:
        """Drop the figures."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """One W&B run for both stages: online when logged in, offline otherwise.

    Args:
        cfg: the settings; ``logger.project``, ``logger.group`` and ``logger.tags`` are read.
        folder: the run directory, which also receives offline files.
    """

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        """Start the W&B run."""
        import wandb

        mode = os.environ.get("WANDB_MODE")
        if mode is None and not wandb.api.api_key:
            mode = "offline"
            print(f"W&B: not logged in, so offline; `wandb sync {folder}/wandb/*` sends it later.")
        self.run = wandb.init(
            project=cfg.logger.project,
            group=cfg.logger.group,
            tags=list(cfg.logger.tags),
            config=cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)),
            name=folder.name,
            dir=folder,
            mode=cast(Literal["online", "offline", "disabled"] | None, mode),
            settings=wandb.Settings(silent=True),
        )

    def log(self, row: dict[str, Any]) -> None:
        """Log one epoch."""
        self.run.log({name: value for name, value in row.items() if name != "stage"})

    def summary(self, metrics: dict[str, dict[str, Any]]) -> None:
        """Write the plain figures of every part into the summary."""
        for part, figures in metrics.items():
            for name, value in figures.items():
                if isinstance(value, (int, float)):
                    self.run.summary[f"{part}/{name}"] = value

    def finish(self) -> None:
        """End the W&B run: the next run of this process gets one of its own."""
        self.run.finish()


def make_tracker(cfg: DictConfig, folder: Path) -> Tracker:
    """Return the tracker of ``logger=``.

    Raises:
        UserError: an unknown name.
    """
    if cfg.logger.name == "csv":
        return NoTracker()
    if cfg.logger.name == "wandb":
        return WandbTracker(cfg, folder)
    raise UserError(f"Expected logger.name to be csv or wandb, but got '{cfg.logger.name}'.")
