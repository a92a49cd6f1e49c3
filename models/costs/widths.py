"""The widths that a search may choose, and those that use up a budget to the last channel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...errors import SecateurError
from ..tracing.atoms import BoolArray, FloatArray, IntArray
from .budget import Budget
from .cost import Costs
from .units import COST_UNITS, format_quantity


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """The widths of each group that may be chosen: multiples of ``divisor`` from ``min_widths`` on, or ``dense``.

    ``divisor`` is one number for all groups, or one for each.

    Shape: dense (G,), min_widths (G,)
    """

    costs: Costs
    dense: IntArray
    min_widths: IntArray
    divisor: int | tuple[int, ...] = 1

    def __repr__(self) -> str:
        least, dense = (int(widths.sum()) for widths in (self.min_widths, self.dense))
        return f"Space(groups={len(self.dense)}, channels={least}..{dense}, divisor={self.divisor})"

    @cached_property
    def steps(self) -> IntArray:
        """What the widths of each group are multiples of. Shape: → (G,)"""
        return np.broadcast_to(np.asarray(self.divisor, np.int64), self.dense.shape)

    def round_down(self, widths: FloatArray) -> IntArray:
        """The next allowed widths at or below (never below the minimum). Shape: (..., G) → (..., G)"""
        steps = np.floor(widths / self.steps + 1e-9).astype(np.int64) * self.steps
        return np.where(widths >= self.dense, self.dense, np.clip(steps, self.min_widths, self.dense))

    def ceil(self, widths: FloatArray, groups: IntArray) -> IntArray:
        """The next allowed widths of these groups at or above (never above dense). Shape: (..., n), (n,) → (..., n)"""
        step = self.steps[groups]
        up: IntArray = np.ceil(widths / step - 1e-9).astype(np.int64) * step
        return np.clip(up, self.min_widths[groups], self.dense[groups])

    def wider(self, widths: IntArray) -> IntArray:
        """Row g widens group g alone by one step, as far as it goes. Shape: (G,) → (G, G)"""
        steps = np.minimum(widths // self.steps * self.steps + self.steps, self.dense) - widths
        return widths + np.diag(steps)

    def toward_dense(self, budget: Budget, share: float) -> Budget:
        """The budget with every limit raised by this share of the way to the dense network's cost."""
        dense = {name: float(budget.cost(name, self.costs, self.dense)) for name in budget.limits}
        return budget.between(Budget(**dense, timed=budget.timed), share)

    def require(self, budget: Budget, because: Callable[[str], str] = lambda name: "") -> None:
        """Raise SecateurError where not even the minimum widths meet the budget.

        ``because`` maps the name of a cost to what keeps it high, for the message.
        """
        for name, limit in budget.limits.items():
            least, dense = (float(budget.cost(name, self.costs, widths)) for widths in (self.min_widths, self.dense))
            if least > limit:
                raise SecateurError(
                    f"budget {format_quantity(limit)} {COST_UNITS[name].unit} cannot be met: the least widths still "
                    f"cost {format_quantity(least)} ({least / dense:.1%}{because(name)}); {_fix(name, least / dense)}"
                )


def _fix(name: str, share: float) -> str:
    """Advice for a budget below the cost of the minimum widths, which is this share of the dense cost."""
    if share < 1:
        return f"pass --{COST_UNITS[name].option} {least_share(share)} or more"
    return "nothing may be narrowed: lower --divisor, --least or --freeze"


def least_share(share: float) -> str:
    """The budget, to a tenth of a per cent, that this share of the dense cost meets."""
    return f"{np.ceil(1000 * share + 1e-6) / 10:g}%"


def fit_to_budget(space: Space, budget: Budget, preferred: FloatArray | IntArray) -> IntArray:
    """The widest widths in the proportions of ``preferred`` that meet the budget, to the last step.

    One factor scales all proportions and is bisected (64 candidates are costed at once, so a few rounds do); what
    rounding left over is then filled. Shape: preferred (G,) widths up to scale → (G,)
    """
    space.require(budget)
    least = 1e-4 * max(float(preferred.max()), 1e-9)  # a zero would stretch the bisection
    proportions: FloatArray = np.maximum(preferred, least)
    low, high = 0.0, float((space.dense / proportions).max())
    for _ in range(6):
        factors = np.linspace(low, high, 64)
        met = budget.holds(space.costs, space.round_down(factors[:, None] * proportions))
        last = int(np.flatnonzero(met)[-1])
        low, high = factors[last], factors[min(last + 1, 63)]
    return fill(space, budget, space.round_down(low * proportions), low * proportions)


def uniform_widths(space: Space, budget: Budget) -> IntArray:
    """The widths at which every group keeps the same share. Shape: → (G,)"""
    return fit_to_budget(space, budget, space.dense)


def fill(space: Space, budget: Budget, widths: IntArray, preferred: FloatArray) -> IntArray:
    """Widen, one step at a time, the group that most falls short of its preferred width, until no step fits.

    A step that does not fit never will, since wider costs no less. Shape: widths (G,), preferred (G,) → (G,)
    """
    free: IntArray = np.flatnonzero(widths < space.dense)
    widths = _leap(space, budget, widths, preferred, free=free)
    while len(free := free[widths[free] < space.dense[free]]):
        group = free[int(((preferred - widths) / space.dense)[free].argmax())]
        wider = space.wider(widths)
        if budget.holds(space.costs, wider[group]):
            widths = wider[group]
        else:
            free = free[budget.holds(space.costs, wider[free])]
            widths = _leap(space, budget, widths, preferred, free=free)
    return widths


def fills_budget(space: Space, budget: Budget, widths: IntArray) -> bool:
    """Whether these widths meet the budget and not one step more would. Shape: widths (G,)"""
    return bool(budget.holds(space.costs, widths)) and not bool(_fitting_steps(space, budget, widths).any())


def _fitting_steps(space: Space, budget: Budget, widths: IntArray) -> BoolArray:
    """The groups that can take one step more within the budget. Shape: widths (G,) → (G,)"""
    wider = space.wider(widths)
    return budget.holds(space.costs, wider) & (np.diag(wider) > widths)


def _leap(space: Space, budget: Budget, widths: IntArray, preferred: FloatArray, *, free: IntArray) -> IntArray:
    """Where ``fill`` arrives many steps later, when all steps on the way fit; ``widths`` where the next does not.

    By then every free group has taken its steps from below some level over its preferred width; the highest level
    that fits is bisected. Shape: widths (G,), preferred (G,), free (free groups,) → (G,)
    """
    if not len(free):
        return widths
    over = (space.dense - preferred)[free] / space.dense[free]
    low, high = float((-(preferred - widths)[free] / space.dense[free]).min()), float(over.max())
    for _ in range(2):
        levels = np.linspace(low, high, 16)
        states = np.tile(widths, (len(levels), 1))
        reached = space.ceil((preferred + levels[:, None] * space.dense)[:, free], free)
        states[:, free] = np.maximum(states[:, free], reached)
        last = int(np.flatnonzero(budget.holds(space.costs, states)).max(initial=0))  # the first is ``widths``
        best, low, high = np.array(states[last]), levels[last], levels[min(last + 1, len(levels) - 1)]
    return best
