"""What takes figures while a run goes on, and how they are named there."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from leukemia.errors import Pruned
from leukemia.measure.predictions import Predictions
from leukemia.report.curves import Cell

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from leukemia.data.datamodule import ArrayDataModule

History = Sequence[Mapping[str, Cell]]
Metrics = Mapping[str, Mapping[str, Any]]

CURVES = "curves"  # what is measured each epoch; the figures of a part stand under its name
EPOCH = f"{CURVES}/epoch"  # the one step axis, counted on through all stages


@runtime_checkable
class Tracker(Protocol):
    """Takes figures while a run goes on, and what they are made of at its end.

    Its attribute ``logger``, where it has one, is Lightning's, for what callbacks log.
    """

    def log(self, history: History) -> None:
        """Take the rows of all epochs so far; those it has already are passed over."""

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Take the final figures, by part, and what they were computed from.

        Args:
            metrics: as in metrics.json.
            predictions: of the same parts, in the order of the rows of ``data.parts``.
            data: the images or embeddings.
        """

    def close(self, *, failed: bool) -> None:
        """End the tracker; nothing may come after."""


class Trackers:
    """The trackers of a run, as a context that closes them whatever happens inside.

    Args:
        trackers: any number, also none.
        loggers: Lightning's, for the Trainer of every stage.
    """

    def __init__(self, trackers: Sequence[Tracker], loggers: Sequence["Logger"] = ()) -> None:
        """Store the trackers."""
        self.trackers, self.loggers = tuple(trackers), tuple(loggers)

    def log(self, history: History) -> None:
        """Hand on the rows of all epochs so far."""
        for tracker in self.trackers:
            tracker.log(history)

    def conclude(
        self, metrics: Metrics, predictions: Mapping[str, Predictions], data: "ArrayDataModule"
    ) -> None:
        """Hand on the final figures, see `Tracker.conclude`."""
        for tracker in self.trackers:
            tracker.conclude(metrics, predictions, data)

    def __enter__(self) -> "Trackers":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all trackers; a run that ended by an error, or Ctrl-C, failed."""
        for logger in self.loggers:
            logger.finalize("success" if kind in (None, Pruned) else "failed")
        for tracker in self.trackers:
            tracker.close(failed=kind not in (None, Pruned))


def curves(row: Mapping[str, Cell]) -> dict[str, float]:
    """The numbers of an epoch's row, by the name under which they are tracked."""
    return {
        f"{CURVES}/{name}": value
        for name, value in row.items()
        if name != "epoch" and isinstance(value, int | float)
    }


def not_in_history(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Lightning logs beside the losses and figures of history.csv."""
    return {k: v for k, v in metrics.items() if not k.startswith(("train_", "val_", "epoch"))}


def scalars(figures: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Every single number of a part's figures, by name: ``val/recall/Early``.

    Args:
        figures: numbers, and mappings of such; what is undefined or a table is left out. A pair
            is an interval: ``/low`` and ``/high``.
        prefix: comes before every name, such as ``val``.
    """
    found: dict[str, float] = {}
    for name, value in figures.items():
        key = f"{prefix}/{name}"
        if isinstance(value, Mapping):
            found |= scalars(value, key)
        elif isinstance(value, int | float):
            found[key] = value
        elif isinstance(value, list) and [type(x) for x in value] == [float, float]:
            found |= {f"{key}/low": value[0], f"{key}/high": value[1]}
    return found
