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
from ..models.tracing.atoms import IntArray
from .allocation import ALLOCATION_RULES, CURVE_RULES, AllocationRule
from .evidence import Evidence

WAY_DOWN = (0.8, 0.6, 0.4, 0.2)  # of the way from the budget up to the dense cost: 90/80/70/60% for 50%
ACROSS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the lower to the upper end of a span
BEYOND = (0.8, 0.6)  # of the budget, so that the front answers for smaller ones too: 40% and 30% for 50%
NEAR = 0.02  # of all channels kept: widths that differ by less are one proposal


@dataclass(frozen=True)
class Proposal:
    """A subnetwork of one score's strongest channels, as wide as one rule makes it at one level."""

    score: str
    rule: str
    budget: Budget
    subnetwork: Subnetwork

    @property
    def source(self) -> str:
        """The score and the rule that made it."""
        return f"{self.score} {self.rule}"


def levels(space: Space, span: BudgetRange) -> list[Budget]:
    """The budgets to propose at: on the way down, the budget itself, and below it as far as can be reached.

    Of a span those between its ends, and half as many on the way down to it.
    """
    if not span.is_single:
        return [*(space.toward_dense(span.high, share) for share in WAY_DOWN[::2]), *map(span.at, reversed(ACROSS))]
    beyond = [span.low.scaled(share) for share in BEYOND]
    reached = [each for each in beyond if each.holds(space.costs, space.min_widths)]
    return [*(space.toward_dense(span.low, share) for share in WAY_DOWN), span.low, *reached]


def propose(
    space: Space,
    budgets: Sequence[Budget],
    evidence: Evidence,
    *,
    rules: Mapping[str, AllocationRule] = ALLOCATION_RULES,
    curve_rules: Mapping[str, AllocationRule] = CURVE_RULES,
) -> list[Proposal]:
    """Every score with every rule at every budget; rules on error curves come last, under the curves' name.

    Of proposals of one score and one budget whose widths are nearly the same, only the first stays.
    """
    found: list[Proposal] = []
    for each in (*_by_scores(space, budgets, evidence, rules), *_by_curves(space, budgets, evidence, curve_rules)):
        rivals = (other for other in found if (other.score, other.budget) == (each.score, each.budget))
        if not any(_near(other.subnetwork.widths, each.subnetwork.widths) for other in rivals):
            found.append(each)
    return found


def _by_scores(
    space: Space, budgets: Sequence[Budget], evidence: Evidence, rules: Mapping[str, AllocationRule]
) -> Iterator[Proposal]:
    """In the order of the rules, then of the scores."""
    for name, rule in rules.items():
        for score, scores in evidence.scores.items():
            for budget in budgets:
                yield Proposal(score, name, budget, top_channels(scores, rule(space, budget, scores)))


def _by_curves(
    space: Space, budgets: Sequence[Budget], evidence: Evidence, rules: Mapping[str, AllocationRule]
) -> Iterator[Proposal]:
    """In the order of the curves, then of the rules, then of the scores."""
    for curve, errors in evidence.curves.items():
        for name, rule in rules.items():
            widths = [rule(space, budget, errors) for budget in budgets]
            for score, scores in evidence.scores.items():
                for budget, row in zip(budgets, widths, strict=True):
                    yield Proposal(score, f"{curve} {name}", budget, top_channels(scores, row))


def _near(a: IntArray, b: IntArray) -> bool:
    """Whether the widths differ by less than ``NEAR`` of the channels kept. Shape: (G,), (G,)"""
    return bool(np.abs(a - b).sum() < NEAR * a.sum())
