"""Rates of several ways to do the same, taken in turn, and their ratios."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Work = Callable[[], "float | Clock"]
"""Does a piece of work and returns how many units (images, epochs) it was, or a clock of it."""


class Clock:
    """Notes when each batch was done; what comes before the end of the first does not count.

    Args:
        size: units a batch.
    """

    def __init__(self, size: int) -> None:
        """Start without a batch."""
        self.size = size
        self.ends: list[float] = []

    def tick(self, *_: object) -> None:
        """Note the end of a batch."""
        self.ends.append(time.perf_counter())

    @property
    def rate(self) -> float:
        """Units a second from the end of the first batch to that of the last."""
        return self.size * (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        family: such as ``training``.
        what: what was measured, and against what.
        ours: the median, in ``unit``.
        other: the median of what it is compared with; ``None`` for a figure that stands alone.
        unit: such as ``images/s``.
        ratio: the median over rounds of ours by other, or ours itself where it stands alone.
        spread: lowest and highest over rounds, as of ``ratio``.
        target: what the ratio is to reach; ``None`` where nothing was promised.
        at_most: whether the target is an upper limit.
    """

    family: str
    what: str
    ours: float
    other: float | None
    unit: str
    ratio: float
    spread: tuple[float, float]
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; ``None`` where there is none."""
        if self.target is None:
            return None
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


@dataclass(frozen=True)
class Rates:
    """What each way reached in each round.

    Args:
        family: of the rows made from them.
        unit: of the rates.
        by_way: units a second by round, by the name of the way.
    """

    family: str
    unit: str
    by_way: Mapping[str, list[float]]

    def row(self, ours: str, other: str, target: float | None = None) -> Row:
        """Compare two ways, round by round."""
        a, b = self.by_way[ours], self.by_way[other]
        ratios = [x / y for x, y in zip(a, b, strict=True)]
        return Row(
            *(self.family, f"{ours} / {other}", median(a), median(b), self.unit),
            *(median(ratios), (min(ratios), max(ratios)), target),
        )


def alternate(
    family: str, unit: str, ways: Mapping[str, Work], rounds: int, *, warm: bool = True
) -> Rates:
    """Time each way once a round, A B A B, so that a slow minute of the machine meets all.

    Args:
        family: of the rows made from them.
        unit: of the rates, such as ``images/s``.
        ways: by name.
        rounds: how often.
        warm: do each once before, untimed: threads, kernels and files are then in place.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    if warm:
        for work in ways.values():
            work()
    for _ in range(rounds):
        for name, work in ways.items():
            began = time.perf_counter()
            done = work()
            if isinstance(done, Clock):
                rates[name].append(done.rate)
            else:
                rates[name].append(done / (time.perf_counter() - began))
    return Rates(family, unit, rates)


def alone(
    family: str,
    what: str,
    unit: str,
    values: list[float],
    target: float | None = None,
) -> Row:
    """Return the row of a figure without a peer, such as seconds; less is better."""
    middle = median(values)
    spread = (min(values), max(values))
    return Row(family, what, middle, None, unit, middle, spread, target, at_most=True)
