"""Allocation rules: how wide each channel group stays at a budget.

A rule reads one array for each group. Those of ``ALLOCATION_RULES`` read scores, (width,): the worth of each channel.
Those of ``CURVE_RULES`` read error curves, (width + 1,): ``curve[w]`` is the rise of the loss, or any error that adds
up over groups, when w channels of the group stay. Every rule meets the budget to the last step.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ..models.costs.budget import Budget
from ..models.costs.widths import Space, fill, uniform_widths
from ..models.tracing.atoms import FloatArray, IntArray
from .importance.scores import Normalisation, per_group

AllocationRule: TypeAlias = Callable[[Space, Budget, Sequence[FloatArray]], IntArray]

STEPS = 64  # of a group's way down; wider groups lose several channels a step
TINY = 1e-15  # of a limit, where a step saves nothing


def uniform(space: Space, budget: Budget, scores: Sequence[FloatArray]) -> IntArray:
    """Every group keeps the same share."""
    del scores
    return uniform_widths(space, budget)


def threshold(
    space: Space, budget: Budget, scores: Sequence[FloatArray], normalise: Normalisation = per_group
) -> IntArray:
    """One threshold over all groups' normalised scores, bisected to the budget.

    A channel stays where its score reaches the threshold; the room that is left is filled with the channels that
    come next. ``partial(threshold, normalise=lamp)`` is another rule.
    """
    scores = normalise(scores)
    levels = np.unique(np.concatenate(scores))  # ascending: a higher threshold keeps less

    def widths(level: int) -> IntArray:
        kept = np.array([(score >= levels[level]).sum() for score in scores], np.float64)
        return space.round_down(kept)

    return _first_that_fits(space, budget, widths, len(levels))


def common_degradation(space: Space, budget: Budget, curves: Sequence[FloatArray]) -> IntArray:
    """Each group as narrow as one bound on the rise of its own error allows, the same for all, bisected to the budget.

    As ModelOpt's FastNAS does with a sensitivity map: a group's cost matters only through the budget.

    Shape: curves (width + 1,) each → (G,)
    """
    rises = [(widths, errors - errors[-1]) for widths, errors in _falling(space, curves)]
    bounds = np.unique(np.concatenate([rise for _, rise in rises]))  # from 0: a higher one keeps less

    def widths(level: int) -> IntArray:
        return np.array([options[(rise <= bounds[level]).argmax()] for options, rise in rises])

    return _first_that_fits(space, budget, widths, len(bounds))


def error_per_mac(space: Space, budget: Budget, curves: Sequence[FloatArray]) -> IntArray:
    """From dense down, always the step that adds the least error per MAC it saves; then up again while steps fit.

    Errors are read off the lower convex hull of each curve. Where the MACs are a sum over groups, the widths met on
    the way down are then those of least error at their cost. Elsewhere a step's saving depends on the
    widths of its neighbours and is computed again. Where a budget limits other costs, these replace MACs.

    Shape: curves (width + 1,) each → (G,)
    """
    space.require(budget)
    errors = _padded([_hull(*options) for options in _falling(space, curves)])
    stride: FloatArray = np.ceil(space.dense / STEPS / space.steps) * space.steps
    widths = space.dense
    while not budget.holds(space.costs, widths):
        narrower = widths + np.diag(space.round_down(widths - stride) - widths)
        rate = _error_per_cost(space, budget, errors, widths, changed=narrower)
        widths = narrower[int(np.where(np.diag(narrower) < widths, rate, np.inf).argmin())]
    while True:
        wider = space.wider(widths)
        fits = budget.holds(space.costs, wider) & (np.diag(wider) > widths)
        if not fits.any():
            return widths
        rate = _error_per_cost(space, budget, errors, widths, changed=wider)
        widths = wider[int(np.where(fits, rate, -np.inf).argmax())]


ALLOCATION_RULES: dict[str, AllocationRule] = {"uniform": uniform, "threshold": threshold}
CURVE_RULES: dict[str, AllocationRule] = {"error_per_mac": error_per_mac, "common_degradation": common_degradation}


def _first_that_fits(space: Space, budget: Budget, widths: Callable[[int], IntArray], count: int) -> IntArray:
    """Of ``count`` vectors, each within the one before, the first that meets the budget; then filled towards that.

    Where none does, the minimal widths are filled.
    """
    space.require(budget)
    low, high = -1, count - 1  # low does not fit (or is before all), high does
    if not budget.holds(space.costs, widths(high)):
        return fill(space, budget, space.min_widths, space.min_widths.astype(np.float64))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if budget.holds(space.costs, widths(middle)) else (middle, high)
    return fill(space, budget, widths(high), widths(max(low, 0)).astype(np.float64))


def _falling(space: Space, curves: Sequence[FloatArray]) -> list[tuple[IntArray, FloatArray]]:
    """Of each group its allowed widths, ascending, and the least error met up to each. Shape: → (n,), (n,)"""
    pairs = []
    for least, dense, step, curve in zip(space.min_widths, space.dense, space.steps, curves, strict=True):
        widths = np.append(np.arange(least, dense, step), dense)
        pairs.append((widths, np.minimum.accumulate(curve[widths])))
    return pairs


def _hull(widths: IntArray, errors: FloatArray) -> FloatArray:
    """The lower convex hull of these points, at every width from 0 to the last. Shape: (n,), (n,) → (width + 1,)"""
    corners = [0]
    for i in range(1, len(widths)):
        while len(corners) > 1 and _slope(widths, errors, *corners[-2:]) >= _slope(widths, errors, corners[-1], i):
            corners.pop()
        corners.append(i)
    hull: FloatArray = np.interp(np.arange(widths[-1] + 1), widths[corners], errors[corners])
    return hull


def _slope(x: IntArray, y: FloatArray, i: int, j: int) -> float:
    return float((y[j] - y[i]) / (x[j] - x[i]))


def _padded(curves: Sequence[FloatArray]) -> FloatArray:
    """Rows of one length. Shape: (width + 1,) each → (G, largest width + 1)"""
    length = max(map(len, curves))
    return np.stack([np.pad(curve, (0, length - len(curve)), "edge") for curve in curves])


def _error_per_cost(
    space: Space, budget: Budget, errors: FloatArray, widths: IntArray, *, changed: IntArray
) -> FloatArray:
    """The error that each row trades for its cost; row g differs in group g alone.

    Costs are shares of their limits, summed over the limits that are exceeded, or over all where none is.

    Shape: errors (G, W), widths (G,), changed (G, G) → (G,)
    """
    groups = np.arange(len(widths))
    error = np.abs(errors[groups, np.diag(changed)] - errors[groups, widths])
    costs = [(budget.cost(n, space.costs, np.vstack([widths, changed])) / limit) for n, limit in budget.limits.items()]
    exceeded = [cost for cost in costs if cost[0] > 1] or costs
    rates: FloatArray = error / np.maximum(np.abs(np.sum([cost[1:] - cost[0] for cost in exceeded], 0)), TINY)
    return rates
