"""The subnetwork that a trial has to beat: the best so far within its budget, by its loss on the whole holdout."""

from collections.abc import Callable
from dataclasses import dataclass

from ...models.costs.budget import Budget
from ..records import Interim, Records


@dataclass(frozen=True, eq=False)
class Incumbent:
    """A budget, and the best so far within it, with its losses on the sample that scores trials."""

    budget: Budget
    incumbent: Interim


def find_incumbent(records: Records, budget: Budget, images: int, publish: Callable[[Interim], None]) -> Incumbent:
    """The best that meets the budget by its loss on the whole holdout, of those that the sample has not ruled out.

    A search of hundreds of trials fits its sample of ``images``: what looks best there is often worse than the best so
    far. So whatever is better than that on the sample is scored on all images before it takes its place, and nothing
    else is: one to three dozen of 200 trials. Each such evaluation is passed to ``publish``.
    """
    costs = records.net.space.costs
    whole = {i.subnetwork: i for i in records.all if i.n == len(records.split)}
    met = [i for i in records.all if i.n == images and budget.holds(costs, i.subnetwork.widths)]
    met.sort(key=lambda i: i.rank)
    best = min((i for i in met if i.subnetwork in whole), key=lambda i: whole[i.subnetwork].rank, default=None)
    for each in met:
        if each is best:
            break
        if each.subnetwork not in whole:
            found = records.evaluate(each.subnetwork, each.source, len(records.split))
            publish(found)
            if best is None or found.rank < whole[best.subnetwork].rank:
                return Incumbent(budget, each)
    assert best is not None  # the starts meet every budget
    return Incumbent(budget, best)
