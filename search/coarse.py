"""The coarse search: importance scores and allocation rules propose subnetworks, down to the budget.

Those on the way down cost little and become the bank's teachers: at the budget itself nothing beats the winner.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..models.costs.budget import Budget
from ..models.costs.budget_range import BudgetRange
from ..models.costs.widths import Space
from ..models.subnetwork import Subnetwork, top_channels
from ..models.tracing.atoms import FloatArray, IntArray
from .allocation import ALLOCATION_RULES, CURVE_RULES, AllocationRule, threshold, uniform
from .importance.registry import Scores

WAY_DOWN = (0.8, 0.6, 0.4, 0.2)  # of the way from the budget up to the dense cost: 90/80/70/60% for 50%
ACROSS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the lower to the upper end of a span
BEYOND = (0.8, 0.6)  # of the budget, so that the front answers for smaller ones too: 40% and 30% for 50%
NEAR = 0.02  # of all channels kept: widths that differ by less are one proposal

__all__ = ["ALLOCATION_RULES", "AllocationRule", "Proposal", "levels", "pool", "threshold", "uniform"]


@dataclass(frozen=True)
class Proposal:
    """A subnetwork of one score's strongest channels, as wide as one rule makes it at one level."""

    score: str
    rule: str
    budget: Budget
    subnetwork: Subnetwork

    @property
    def source(self) -> str:
        """What made it, in words."""
        return f"{self.score} {self.rule}"


def levels(space: Space, span: BudgetRange) -> list[Budget]:
    """The costs to propose at: down to the budget, at it, and beyond it as far as can be reached.

    Of a span those between its ends, and half of the way down to it.
    """
    if not span.is_single:
        return [*(space.toward_dense(span.high, share) for share in WAY_DOWN[::2]), *map(span.at, reversed(ACROSS))]
    beyond = [span.low.scaled(share) for share in BEYOND]
    reached = [each for each in beyond if each.holds(space.costs, space.min_widths)]
    return [*(space.toward_dense(span.low, share) for share in WAY_DOWN), span.low, *reached]


def pool(
    space: Space, scores: Mapping[str, Scores], budgets: Sequence[Budget], curves: Mapping[str, Sequence[FloatArray]]
) -> list[Proposal]:
    """Every score with every rule at every budget; rules on error curves come last, under the curves' name.

    Of candidates of one score and one budget whose widths are nearly the same, only the first stays.
    """
    found: list[Proposal] = []
    for score, rule, budget, widths in _allocated(space, scores, budgets, curves):
        rivals = (each for each in found if (each.score, each.budget) == (score, budget))
        if not any(_near(each.subnetwork.widths, widths) for each in rivals):
            found.append(Proposal(score, rule, budget, top_channels(scores[score], widths)))
    return found


def _allocated(
    space: Space, scores: Mapping[str, Scores], budgets: Sequence[Budget], curves: Mapping[str, Sequence[FloatArray]]
) -> Iterator[tuple[str, str, Budget, IntArray]]:
    """Score, rule, budget and widths, in the order of the rules, then of the scores."""
    for name, rule in ALLOCATION_RULES.items():
        for score, each in scores.items():
            yield from ((score, name, budget, rule(space, budget, each)) for budget in budgets)
    for curve, errors in curves.items():
        for name, rule in CURVE_RULES.items():
            rows = [rule(space, budget, errors) for budget in budgets]
            for score in scores:
                yield from ((score, f"{curve} {name}", *row) for row in zip(budgets, rows, strict=True))


def _near(a: IntArray, b: IntArray) -> bool:
    """Whether the widths differ by less than ``NEAR`` of the channels kept. Shape: (G,), (G,)"""
    return bool(np.abs(a - b).sum() < NEAR * a.sum())
