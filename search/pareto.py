"""The Pareto front over MACs and holdout loss, and the hypervolume that it dominates."""

from collections.abc import Iterable

from .records import Interim


def pareto_front(interims: Iterable[Interim]) -> list[Interim]:
    """Those that no other beats in both MACs and holdout loss, by ascending MACs. A NaN loss is on no front."""
    best: list[Interim] = []
    numbers = (each for each in interims if each.loss == each.loss)
    for each in sorted(numbers, key=lambda interim: (interim.macs, interim.loss)):
        if not best or each.loss < best[-1].loss:
            best.append(each)
    return best


def hypervolume(interims: Iterable[Interim], macs: float, loss: float) -> float:
    """The area that a front dominates, up to the reference point (``macs``, ``loss``), as a share of the whole.

    Costs and losses count from 0; a point beyond the reference adds nothing.
    """
    area, before = 0.0, loss
    for point in pareto_front(interims):
        area += max(0.0, macs - point.macs) * max(0.0, before - point.loss)
        before = min(before, point.loss)
    return area / (macs * loss)
