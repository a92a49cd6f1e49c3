"""Budgets: what a subnetwork may cost at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from math import inf
from operator import and_
from typing import TYPE_CHECKING, Protocol

from ...errors import SecateurError
from .units import COST_UNITS

if TYPE_CHECKING:  # the command line's help reads budgets, and needs no NumPy
    from ..tracing.atoms import BoolArray, FloatArray, IntArray
    from .cost import Costs


class Timed(Protocol):
    """The time that one image takes on a device, as a function of widths."""

    def __call__(self, widths: IntArray, /) -> FloatArray:
        """Seconds of the network. Shape: widths (..., G) → (...,)"""

    def layers(self, widths: IntArray, /) -> FloatArray:
        """Seconds of what runs before the first product, and of each product with what follows it.

        Shape: widths (..., G) → (..., L + 1)
        """


@dataclass(frozen=True, repr=False)
class Budget:
    """Limits that a subnetwork must all keep: MACs, parameters, bytes and seconds of one image; infinite if not given.

    ``timed`` maps widths to seconds on a device; a limit of latency needs it.
    """

    macs: float = inf
    parameters: float = inf
    memory: float = inf
    latency: float = inf
    timed: Timed | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.limits:
            raise SecateurError("this budget limits nothing; pass one of flops, params, memory, latency")
        if self.latency < inf and self.timed is None:
            raise SecateurError(f"latency={self.latency} has no table of times; make it by Supernet.budget")

    def __str__(self) -> str:
        return ", ".join(f"{limit} {COST_UNITS[name].unit}" for name, limit in self.limits.items())

    def __repr__(self) -> str:
        return f"Budget({', '.join(f'{name}={limit}' for name, limit in self.limits.items())})"

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given, by the name of the cost."""
        return {name: limit for name in COST_UNITS if (limit := getattr(self, name)) < inf}

    def cost(self, name: str, costs: Costs, widths: IntArray) -> FloatArray:
        """The cost of this name. Shape: widths (..., G) → (...,)"""
        return cost_form(name, costs, self.timed)(widths)

    def holds(self, costs: Costs, widths: IntArray) -> BoolArray:
        """Whether these widths cost no more. Shape: widths (..., G) → (...,)"""
        met = (self.cost(name, costs, widths) <= limit for name, limit in self.limits.items())
        return reduce(and_, met)

    def scaled(self, share: float) -> Budget:
        """This share of every limit."""
        return self._each(lambda name, limit: share * limit)

    def between(self, other: Budget, share: float) -> Budget:
        """Every limit moved by this share of the way to the other's."""
        return self._each(lambda name, limit: limit + share * (other.limits[name] - limit))

    def _each(self, change: Callable[[str, float], float]) -> Budget:
        limits = {name: COST_UNITS[name].floor(change(name, limit)) for name, limit in self.limits.items()}
        return Budget(**limits, timed=self.timed)


def cost_form(name: str, costs: Costs, timed: Timed | None) -> Callable[[IntArray], FloatArray]:
    """The closed form of the cost of this name. Raises SecateurError for latency without its table."""
    form: Callable[[IntArray], FloatArray] | None = timed if name == "latency" else getattr(costs, name)
    if form is None:
        raise SecateurError("latency has no table of times; make it by Supernet.budget")
    return form
