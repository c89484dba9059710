"""What a search may try of a setting."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Interval:
    """Real numbers.

    Args:
        low: the least.
        high: the greatest.
        log: whether ratios count, not differences.
    """

    low: float
    high: float
    log: bool = False

    def distribution(self) -> "BaseDistribution":
        """As Optuna names it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choices:
    """Values without an order.

    Args:
        values: as typed.
    """

    values: tuple[str, ...]

    def distribution(self) -> "BaseDistribution":
        """As Optuna names it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)
