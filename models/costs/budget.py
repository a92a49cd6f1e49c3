"""Budgets, and the widths that meet them to the last channel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import numpy as np

from ...errors import SecateurError
from ..tracing.atoms import BoolArray, FloatArray, IntArray
from .cost import Costs
from .units import COST_UNITS, format_quantity


class Timed(Protocol):
    """Says how long one image takes on a device."""

    def __call__(self, widths: IntArray, /) -> FloatArray:
        """Seconds of the network. Shape: widths (..., G) → (...,)"""

    def layers(self, widths: IntArray, /) -> FloatArray:
        """Seconds of what runs before the first product, and of each product with what follows it.

        Shape: widths (..., G) → (..., L + 1)
        """


@dataclass(frozen=True)
class Budget:
    """What a subnetwork may cost at most: every limit that is given (is finite) holds. Bytes, seconds of one image.

    ``timed`` says how long widths take on a device, which a limit of latency is about.
    """

    macs: float = inf
    parameters: float = inf
    memory: float = inf
    latency: float = inf
    timed: Timed | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.limits:
            raise SecateurError("this budget limits nothing; give one of flops, params, memory, latency")
        if self.latency < inf and self.timed is None:
            raise SecateurError(f"latency={self.latency} has no table of times; make it by Supernet.budget")

    @classmethod
    def parse(cls, space: "Space", wishes: Mapping[str, str | None], timed: Timed | None = None) -> "Budget":
        """Limits as people write them, by the name of the cost: ``{"macs": "50%", "parameters": "0.1M"}``."""
        limits = {
            name: COST_UNITS[name].amount(text, float(_form(name, space.costs, timed)(space.dense)))
            for name, text in wishes.items()
            if text is not None
        }
        return cls(**limits, timed=timed)

    def __str__(self) -> str:
        return ", ".join(f"{limit} {COST_UNITS[name].unit}" for name, limit in self.limits.items())

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given, by the name of the cost."""
        return {name: limit for name in COST_UNITS if (limit := getattr(self, name)) < inf}

    def cost(self, name: str, costs: Costs, widths: IntArray) -> FloatArray:
        """One kind of cost, by its name. Shape: widths (..., G) → (...,)"""
        return _form(name, costs, self.timed)(widths)

    def holds(self, costs: Costs, widths: IntArray) -> BoolArray:
        """Whether these widths cost no more. Shape: widths (..., G) → (...,)"""
        met: BoolArray = np.all([self.cost(name, costs, widths) <= limit for name, limit in self.limits.items()], 0)
        return met

    def scaled(self, share: float) -> "Budget":
        """This share of every limit."""
        return self._each(lambda name, limit: share * limit)

    def toward(self, space: "Space", share: float) -> "Budget":
        """Every limit raised by this share of the way to what the dense network costs."""
        whole = {name: float(self.cost(name, space.costs, space.dense)) for name in self.limits}
        return self._each(lambda name, limit: limit + share * (whole[name] - limit))

    def between(self, other: "Budget", share: float) -> "Budget":
        """Every limit moved by this share of the way to the other's."""
        return self._each(lambda name, limit: limit + share * (other.limits[name] - limit))

    def _each(self, change: Callable[[str, float], float]) -> "Budget":
        limits = {name: COST_UNITS[name].floor(change(name, limit)) for name, limit in self.limits.items()}
        return Budget(**limits, timed=self.timed)


def _form(name: str, costs: Costs, timed: Timed | None) -> Callable[[IntArray], FloatArray]:
    """The closed form of one kind of cost."""
    form: Callable[[IntArray], FloatArray] | None = timed if name == "latency" else getattr(costs, name)
    if form is None:
        raise SecateurError("no table of times says how long a network takes here; make it by Supernet.budget")
    return form


@dataclass(frozen=True, eq=False)
class Space:
    """The widths a search may choose: in each group multiples of ``divisor`` from ``least`` on, or ``dense``."""

    costs: Costs
    dense: IntArray
    min_widths: IntArray
    divisor: int = 1

    def round_down(self, widths: FloatArray) -> IntArray:
        """The next allowed widths at or below (never below the least). Shape: (..., G) → (..., G)"""
        steps = np.floor(widths / self.divisor + 1e-9).astype(np.int64) * self.divisor
        return np.where(widths >= self.dense, self.dense, np.clip(steps, self.min_widths, self.dense))

    def ceil(self, widths: FloatArray, groups: IntArray) -> IntArray:
        """The next allowed widths of these groups at or above (never above dense). Shape: (..., n), (n,) → (..., n)"""
        steps = np.ceil(widths / self.divisor - 1e-9).astype(np.int64) * self.divisor
        return np.clip(steps, self.min_widths[groups], self.dense[groups])

    def wider(self, widths: IntArray) -> IntArray:
        """Row g widens group g alone by one step, as far as it goes. Shape: (G,) → (G, G)"""
        steps = np.minimum(widths // self.divisor * self.divisor + self.divisor, self.dense) - widths
        return widths + np.diag(steps)

    def require(self, budget: Budget, because: Callable[[str], str] = lambda name: "") -> None:
        """Raise SecateurError where not even the least widths meet the budget.

        ``because`` adds to the message what holds a cost, given the cost's name.
        """
        for name, limit in budget.limits.items():
            least, dense = (float(budget.cost(name, self.costs, widths)) for widths in (self.min_widths, self.dense))
            if least > limit:
                more = f"give --{COST_UNITS[name].option} {np.ceil(1000 * least / dense + 1e-6) / 10:g}% or more"
                raise SecateurError(
                    f"budget {format_quantity(limit)} {COST_UNITS[name].unit} cannot be met: the least widths still cost "
                    f"{format_quantity(least)} ({least / dense:.1%}{because(name)}); "
                    f"{more if least < dense else 'nothing may be narrowed: lower --divisor, --least or --freeze'}"
                )


def fit_to_budget(space: Space, budget: Budget, wish: FloatArray | IntArray) -> IntArray:
    """The widest widths in the proportions of a wish that meet the budget, to the last step.

    One factor scales all proportions and is bisected (64 candidates priced at once, so a few rounds do); what
    rounding left over is then filled. Shape: wish (G,) widths up to scale → (G,)
    """
    space.require(budget)
    least = 1e-4 * max(float(wish.max()), 1e-9)  # a zero would stretch the bisection
    proportions: FloatArray = np.maximum(wish, least)
    low, high = 0.0, float((space.dense / proportions).max())
    for _ in range(6):
        factors = np.linspace(low, high, 64)
        met = budget.holds(space.costs, space.round_down(factors[:, None] * proportions))
        last = int(np.flatnonzero(met)[-1])
        low, high = factors[last], factors[min(last + 1, 63)]
    return fill(space, budget, space.round_down(low * proportions), low * proportions)


def uniform_widths(space: Space, budget: Budget) -> IntArray:
    """Every group keeps the same share. Shape: → (G,)"""
    return fit_to_budget(space, budget, space.dense)


def fill(space: Space, budget: Budget, widths: IntArray, wish: FloatArray) -> IntArray:
    """Widen, one step at a time, the group that most falls short of its wish, until no step fits.

    A step that does not fit never will, since wider costs no less. Shape: widths (G,), wish (G,) → (G,)
    """
    free: IntArray = np.flatnonzero(widths < space.dense)
    widths = _leap(space, budget, widths, wish, free)
    while len(free := free[widths[free] < space.dense[free]]):
        group = free[int(((wish - widths) / space.dense)[free].argmax())]
        wider = space.wider(widths)
        if budget.holds(space.costs, wider[group]):
            widths = wider[group]
        else:
            free = free[budget.holds(space.costs, wider[free])]
            widths = _leap(space, budget, widths, wish, free)
    return widths


def _leap(space: Space, budget: Budget, widths: IntArray, wish: FloatArray, free: IntArray) -> IntArray:
    """Where ``fill`` comes to, many steps later, when all steps on the way fit; ``widths`` where the next does not.

    By then every free group has taken its steps from below some level over its wish; as high a level as fits
    is bisected. Shape: widths (G,), wish (G,), free (free groups,) → (G,)
    """
    if not len(free):
        return widths
    over = (space.dense - wish)[free] / space.dense[free]
    low, high = float((-(wish - widths)[free] / space.dense[free]).min()), float(over.max())
    for _ in range(2):
        levels = np.linspace(low, high, 16)
        states = np.tile(widths, (len(levels), 1))
        reached = space.ceil((wish + levels[:, None] * space.dense)[:, free], free)
        states[:, free] = np.maximum(states[:, free], reached)
        last = int(np.flatnonzero(budget.holds(space.costs, states)).max(initial=0))  # the first is ``widths``
        best, low, high = np.array(states[last]), levels[last], levels[min(last + 1, len(levels) - 1)]
    return best


def fills_budget(space: Space, budget: Budget, widths: IntArray) -> bool:
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
    return int(space.costs.macs(space.min_widths)), int(space.costs.macs(space.dense))
