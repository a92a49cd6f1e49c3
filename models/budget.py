"""Budgets, and the widths that meet them to the last channel."""

import re
from dataclasses import dataclass

import numpy as np

from .atoms import BoolArray, FloatArray, IntArray
from .cost import Costs
from .errors import SecateurError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Budget:
    """What a subnetwork may cost at most."""

    macs: int

    @classmethod
    def parse(cls, text: str, dense_macs: int) -> "Budget":
        """``50%`` of the dense network's MACs, or a number of MACs such as ``62M``, ``1.5G``, ``40600000``."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%|[KMG]?)\s*", text, re.IGNORECASE)
        if not found:
            raise SecateurError(f"budget {text!r} is not a share or a number of MACs; write 50% or 62M")
        number, unit = float(found[1]), found[2].upper()
        macs = int(number / 100 * dense_macs + 1e-6) if unit == "%" else int(number * UNITS[unit])
        if not 0 < macs <= dense_macs:
            raise SecateurError(
                f"budget {text} is {macs / 1e6:.4g}M MACs and the dense network has {dense_macs / 1e6:.4g}M; "
                "give more than 0 and at most 100%"
            )
        return cls(macs)

    def holds(self, costs: Costs, widths: IntArray) -> BoolArray:
        """Whether these widths cost no more. Shape: widths (..., G) → (...,)"""
        return costs.macs(widths) <= self.macs


@dataclass(frozen=True, eq=False)
class Space:
    """The widths a search may choose: in each group multiples of ``divisor`` from ``least`` on, or ``dense``."""

    costs: Costs
    dense: IntArray
    least: IntArray
    divisor: int = 1

    def floor(self, widths: FloatArray) -> IntArray:
        """The next allowed widths at or below (never below the least). Shape: (..., G) → (..., G)"""
        steps = np.floor(widths / self.divisor + 1e-9).astype(np.int64) * self.divisor
        return np.where(widths >= self.dense, self.dense, np.clip(steps, self.least, self.dense))

    def wider(self, widths: IntArray) -> IntArray:
        """Row g widens group g alone by one step, as far as it goes. Shape: (G,) → (G, G)"""
        steps = np.minimum(widths // self.divisor * self.divisor + self.divisor, self.dense) - widths
        return widths + np.diag(steps)

    def require(self, budget: Budget) -> None:
        """Raise SecateurError where not even the least widths meet the budget."""
        if not budget.holds(self.costs, self.least):
            least, dense = int(self.costs.macs(self.least)), int(self.costs.macs(self.dense))
            raise SecateurError(
                f"budget {budget.macs / 1e6:.4g}M MACs cannot be met: the least widths still cost {least / 1e6:.4g}M "
                f"({least / dense:.1%}); give --flops {np.ceil(1000 * least / dense) / 10:g}% or more"
            )


def fit(space: Space, budget: Budget, proportions: FloatArray) -> IntArray:
    """The widest widths in these proportions that meet the budget, to the last step.

    One factor scales all proportions and is bisected (64 candidates priced at once, so a few rounds do); what
    rounding left over is then filled. Shape: proportions (G,) wished widths up to scale → (G,)
    """
    space.require(budget)
    wished = np.asarray(proportions, np.float64)
    proportions = np.maximum(wished, 1e-4 * max(float(wished.max()), 1e-9))  # a zero would stretch the bisection
    low, high = 0.0, float((space.dense / proportions).max())
    for _ in range(6):
        factors = np.linspace(low, high, 64)
        met = budget.holds(space.costs, space.floor(factors[:, None] * proportions))
        last = int(np.flatnonzero(met)[-1])
        low, high = factors[last], factors[min(last + 1, 63)]
    return fill(space, budget, space.floor(low * proportions), low * proportions)


def fill(space: Space, budget: Budget, widths: IntArray, wish: FloatArray) -> IntArray:
    """Widen, one step at a time, the group that most falls short of its wish, until no step fits.

    Shape: widths (G,), wish (G,) → (G,)
    """
    widths = np.array(widths)
    while True:
        wider, fits = _steps(space, budget, widths)
        if not fits.any():
            return widths
        short = np.where(fits, (wish - widths) / space.dense, -np.inf)
        widths = wider[int(short.argmax())]


def filled(space: Space, budget: Budget, widths: IntArray) -> bool:
    """Whether these widths meet the budget and not one step more would. Shape: widths (G,)"""
    return bool(budget.holds(space.costs, widths)) and not bool(_steps(space, budget, widths)[1].any())


def _steps(space: Space, budget: Budget, widths: IntArray) -> tuple[IntArray, BoolArray]:
    """Every group one step wider, a row each, and which of these rows still meet the budget.

    Shape: widths (G,) → (G, G), (G,)
    """
    wider = space.wider(widths)
    return wider, budget.holds(space.costs, wider) & (np.diag(wider) > widths)


def reachable(space: Space) -> tuple[int, int]:
    """The MACs at the least widths and of the dense network."""
    return int(space.costs.macs(space.least)), int(space.costs.macs(space.dense))
