"""The coarse search: importance scores and allocation rules propose subnetworks, down to the budget."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..models.atoms import IntArray
from ..models.budget import Budget, Space, fill, fit, reachable
from ..models.subnetwork import strongest
from .importance import Scores, per_group
from .interim import Interim, Records

Rule: TypeAlias = Callable[[Space, Budget, Scores], IntArray]

WAY_DOWN = (0.8, 0.6, 0.4, 0.2)  # of the way from the budget up to the dense cost: 90/80/70/60% for 50%
BEYOND = (0.8, 0.6)  # of the budget, so that the front answers for smaller ones too: 40% and 30% for 50%


def uniform(space: Space, budget: Budget, scores: Scores) -> IntArray:
    """Every group keeps the same share."""
    del scores
    return fit(space, budget, space.dense.astype(np.float64))


def threshold(space: Space, budget: Budget, scores: Scores) -> IntArray:
    """One threshold over all groups' normalised scores, bisected to the budget.

    A channel stays where its score reaches the threshold; what fits beyond is filled with the channels that
    come next.
    """
    space.require(budget)
    scores = per_group(scores)
    levels = np.unique(np.concatenate(scores))  # ascending: a higher threshold keeps less

    def widths(level: int) -> IntArray:
        kept = np.array([(score >= levels[level]).sum() for score in scores], np.float64)
        return space.floor(np.maximum(kept, space.least))

    low, high = -1, len(levels) - 1  # low does not fit (or is before all), high does
    if not budget.holds(space.costs, widths(high)):
        return fill(space, budget, space.least, space.least.astype(np.float64))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if budget.holds(space.costs, widths(middle)) else (middle, high)
    return fill(space, budget, widths(high), widths(max(low, 0)).astype(np.float64))


@dataclass(frozen=True)
class Proposal:
    """One evaluated proposal: which score and which rule made it."""

    score: str
    rule: str
    budget: Budget
    interim: Interim


RULES: dict[str, Rule] = {"uniform": uniform, "threshold": threshold}


def levels(space: Space, budget: Budget) -> list[Budget]:
    """The costs to propose at: down to the budget, at it, and beyond it as far as can be reached."""
    least, dense = reachable(space)
    down = [Budget(int(budget.macs + share * (dense - budget.macs))) for share in WAY_DOWN]
    return [*down, budget, *(Budget(int(s * budget.macs)) for s in BEYOND if int(s * budget.macs) >= least)]


def coarse_search(records: Records, scores: Mapping[str, Scores], budget: Budget, images: int) -> Iterator[Proposal]:
    """Every score with every rule, at costs from near dense down to the budget and beyond, without training.

    The points on the way down cost little and become the bank's teachers: at the budget itself nothing is
    better than the winner.
    """
    net = records.net
    for name, each in scores.items():
        for rule_name, rule in RULES.items():
            for level in levels(net.space, budget):
                subnetwork = strongest(each, rule(net.space, level, each))
                interim = records.evaluate(subnetwork, f"{name} {rule_name}", images)
                yield Proposal(name, rule_name, level, interim)
