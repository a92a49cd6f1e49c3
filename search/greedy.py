"""The greedy search: narrow one channel group after the other, trying only those whose filters seem to matter least."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..errors import SecateurError
from ..models.costs.budget import Budget
from ..models.costs.widths import Space, fill, fit_to_budget
from ..models.evaluate import batch_statistics
from ..models.split import Split
from ..models.subnetwork import Subnetwork, top_channels
from ..models.supernet import Supernet
from ..models.surgery.slim import masked
from ..models.tracing.atoms import FloatArray, IntArray
from .importance.scores import Importance, Scores, readers
from .importance.taylor import taylor
from .records import Interim, Records

STEP = 0.2  # of a group, divided by the number of weights that read it
TRIM = 0.2  # of the groups, left out at both ends before they are split in two


@dataclass(frozen=True)
class Greedy:
    """The greedy search, where a sampler could stand; ``importance`` scores the channels at every step."""

    importance: Importance = taylor


def greedy(
    records: Records, importance: Importance, budget: Budget, *, images: int, evaluations: int
) -> Iterator[Interim]:
    """Subnetworks from near dense down to the budget, each a part of the one before, scored on ``images``.

    There are at most ``evaluations``, spread evenly over the steps to the budget.

    Every step scores the filters of the present subnetwork again. The scores of the filters that a group's next step
    would remove add up to its predicted damage. The groups up to the trimmed Otsu threshold of all damages are tried,
    and the one whose step leaves the lowest holdout loss is narrowed. All that is tried stays in ``records``. A step
    for which no evaluation is left takes the least predicted damage and yields nothing.

    The loop of EKG (https://github.com/sseung0703/EKG), but on the loss alone, without its term towards the mean
    logits of the subnetworks so far, and with no training before. Its end may leave room for channels of other
    groups than the last; then that room is filled, and only this last subnetwork is not a part of those before.
    Raises SecateurError where ``evaluations`` is below 1 or the budget cannot be met.
    """
    if evaluations < 1:
        raise SecateurError(f"evaluations={evaluations}; pass 1 or more")
    net, space = records.net, records.net.space
    space.require(budget)
    strides = _strides(net)
    present, left, yielded = net.dense, evaluations - 1, None
    dense = scores = rescore(net, records.split, importance, net.dense)
    while not budget.holds(space.costs, present.widths):
        tried = candidate_steps(space, budget, scores, present.widths, strides=strides)
        share = min(len(tried), left // _steps_to(space, budget, present.widths, strides))
        left -= share
        present = tried[0]
        if share:
            evaluated = [records.evaluate(each, "greedy", images) for each in tried[:share]]
            best = min(evaluated, key=lambda each: each.sort_loss)
            yield best
            present = yielded = best.subnetwork
        scores = rescore(net, records.split, importance, present)
    last = _filled(space, budget, dense, present)
    if last != yielded:
        yield records.evaluate(last, "greedy", images)


def rescore(net: Supernet, split: Split, importance: Importance, present: Subnetwork) -> Scores:
    """The scores of a subnetwork's channels, within it and with batch statistics; -inf for those that are gone."""
    model = masked(net, present)
    with batch_statistics(model):
        scores = importance(replace(net, model=model), split)
    for score, kept in zip(scores, present.kept, strict=True):
        score[np.setdiff1d(np.arange(len(score)), kept)] = -np.inf
    return scores


def candidate_steps(
    space: Space, budget: Budget, scores: Scores, widths: IntArray, *, strides: IntArray
) -> list[Subnetwork]:
    """The subnetworks one step away, for the groups that seem to matter least; the least damage first.

    A step that goes below the budget is undone as far as the budget allows.

    Shape: widths (G,), strides (G,)
    """
    narrow = space.round_down((widths - strides).astype(np.float64))
    damage = np.array(
        [np.sort(s)[len(s) - w : len(s) - n].sum() for s, w, n in zip(scores, widths, narrow, strict=True)]
    )
    damage[narrow == widths] = np.inf
    few = damage <= trimmed_otsu(damage[np.isfinite(damage)])
    groups = [g for g in damage.argsort(kind="stable") if few[g] and np.isfinite(damage[g])]
    rows = [np.where(np.arange(len(widths)) == g, narrow, widths) for g in groups]
    return [top_channels(scores, _widened(space, budget, row, g)) for g, row in zip(groups, rows, strict=True)]


def trimmed_otsu(values: FloatArray) -> float:
    """The value that best splits these in two once ``TRIM`` of them are left out at both ends; inf if too few are left.

    Of n ascending v, the t that maximises t (n - t) (mean v_1..t - mean v_t+1..n)², t = 1..n-2; the threshold lies
    half way between v_t and v_t+1. Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076, trimmed as in EKG.

    Shape: (N,) → ()
    """
    out = math.ceil(TRIM * len(values))
    v = np.sort(values)[out : len(values) - out]
    if len(v) < 3:
        return math.inf
    t = np.arange(1, len(v) - 1)
    below = np.cumsum(v)[t - 1]
    between = t * (len(v) - t) * (below / t - (v.sum() - below) / (len(v) - t)) ** 2
    best = int(t[between.argmax()])
    return float(v[best - 1] + v[best]) / 2


def _strides(net: Supernet) -> IntArray:
    """The channels that a step takes from each group. Shape: → (G,)"""
    share = STEP / np.array([max(1, len(those)) for those in readers(net)])
    steps = net.space.steps
    return np.maximum(1, (share * net.space.dense / steps).astype(np.int64)) * steps


def _widened(space: Space, budget: Budget, widths: IntArray, group: int) -> IntArray:
    """One group as wide as the budget allows, where the budget is met at all. Shape: (G,) → (G,)"""
    while budget.holds(space.costs, widths) and budget.holds(space.costs, space.wider(widths)[group]):
        widths = space.wider(widths)[group]
    return widths


def _steps_to(space: Space, budget: Budget, widths: IntArray, strides: IntArray) -> int:
    """About how many steps lie between these widths and the budget, at least one. Shape: (G,), (G,)"""
    short = np.maximum(widths - fit_to_budget(space, budget, widths), 0)
    return max(1, int(np.ceil(short / strides).sum()))


def _filled(space: Space, budget: Budget, scores: Scores, present: Subnetwork) -> Subnetwork:
    """The subnetwork with its strongest lost channels back, as far as the budget allows."""
    order = [score.copy() for score in scores]
    for score, kept in zip(order, present.kept, strict=True):
        score[list(kept)] = np.inf
    return top_channels(order, fill(space, budget, present.widths, space.dense.astype(np.float64)))
