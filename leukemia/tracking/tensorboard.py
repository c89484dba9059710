"""TensorBoard: event files in the run directory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from leukemia.measure.predictions import Predictions
from leukemia.report.curves import roc_and_pr
from leukemia.report.figures import confusion_matrix
from leukemia.runs.directory import RunDir
from leukemia.tracking.base import History, Metrics, curves, not_in_history, scalars

if TYPE_CHECKING:
    from leukemia.data.datamodule import ArrayDataModule


class _Beside(TensorBoardLogger):
    """Takes what callbacks log; losses and figures are written by epoch over all stages."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write what is not in history.csv."""
        super().log_metrics(not_in_history(metrics), step)

    def finalize(self, status: str) -> None:
        """Keep the file open: another stage may follow."""
        self.experiment.flush()

    def save(self) -> None:
        """Write no hparams.yaml: config.yaml has all settings."""


class TensorBoardTracker:
    """One step axis over all stages: the epoch, counted on.

    Args:
        cfg: the settings, shown as text.
        run: its folder ``tensorboard`` receives the event files.
    """

    def __init__(self, cfg: DictConfig, run: RunDir) -> None:
        """Open a new event file."""
        # A killed writer may have lost its last rows: all are written again, and what earlier
        # files hold is dropped by the reader.
        self.logger = _Beside(run.path, "tensorboard", "", purge_step=0)
        self.writer = self.logger.experiment
        self.writer.add_text("config", f"```yaml\n{OmegaConf.to_yaml(cfg, resolve=True)}```")
        self.sent = 0

    def log(self, history: History) -> None:
        """Write the epochs that are new."""
        for row in history[self.sent :]:
            self.sent += 1
            for name, value in curves(row).items():
                self.writer.add_scalar(name, value, self.sent)
        self.writer.flush()

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Write the figures of each part at the last epoch."""
        for part, table in predictions.items():
            for name, value in scalars(metrics[part], part).items():
                self.writer.add_scalar(name, value, self.sent)
            figures = {"confusion": confusion_matrix(metrics[part]["confusion"], table.classes)}
            if table.classes.has_cancer:
                figures["roc_and_pr"] = roc_and_pr({part: table})
            for name, figure in figures.items():
                self.writer.add_figure(f"{part}/{name}", figure, self.sent)

    def close(self, *, failed: bool) -> None:
        """Close the event file."""
        self.writer.close()
