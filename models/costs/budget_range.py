"""Ranges of budgets: one search covers all of them at once."""

from dataclasses import dataclass

from ...errors import SecateurError
from .budget import Budget
from .units import COST_UNITS, TO, format_quantity


@dataclass(frozen=True, repr=False)
class BudgetRange:
    """All budgets from ``low`` to ``high``, limits of the same costs; one budget where both are the same."""

    low: Budget
    high: Budget

    def __post_init__(self) -> None:
        if self.low.limits.keys() != self.high.limits.keys():
            raise SecateurError(f"{self.low} and {self.high} limit different costs; pass the same for both ends")
        for name, limit in self.low.limits.items():
            if limit > self.high.limits[name]:
                ends = f"{format_quantity(limit)}{TO}{format_quantity(self.high.limits[name])} {COST_UNITS[name].unit}"
                raise SecateurError(f"the range {ends} is upside down; write the smaller end first, as in 25%..80%")

    def __repr__(self) -> str:
        ends = (f"{name}={self._shown(name)}" for name in self.low.limits)
        return f"BudgetRange({', '.join(ends)})"

    def __str__(self) -> str:
        return str(self.low) if self.is_single else f"{self.low} to {self.high}"

    @property
    def is_single(self) -> bool:
        """Whether it is one budget."""
        return self.low == self.high

    def includes(self, budget: Budget) -> bool:
        """Whether every limit of a budget lies between the ends."""
        low, high = self.low.limits, self.high.limits
        return all(low[name] <= limit <= high[name] for name, limit in budget.limits.items())

    def at(self, share: float) -> Budget:
        """The budget this share of the way from ``low`` to ``high``."""
        return self.low.between(self.high, share)

    def _shown(self, name: str) -> str:
        """One cost's limit, or both ends of its range."""
        ends = [format_quantity(end.limits[name]) for end in (self.low, self.high)]
        return TO.join(dict.fromkeys(ends))
