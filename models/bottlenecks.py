"""The frozen groups that keep a cost from falling any lower."""

from collections.abc import Sequence

import numpy as np

from .costs.budget import Budget
from .structure import Structure
from .tracing.atoms import FloatArray, IntArray
from .tracing.groups import ChannelGroup

NAMED = 3  # groups that a message names


def explain_floor(net: Structure, budget: Budget, name: str) -> str:
    """The frozen groups that hold most of a cost at the least widths, as part of a message; empty if there are none."""
    most = [(share, group) for share, group in frozen_shares(net, budget, name)[:NAMED] if share >= 0.01]
    held = ", ".join(f"{share:.0%} in {group.name}, which {group.frozen}" for share, group in most)
    return f", of which {held}" if held else ""


def frozen_shares(net: Structure, budget: Budget, name: str) -> list[tuple[float, ChannelGroup]]:
    """Every frozen group with the share of a cost in the layers (or tensors) that it lies in, the largest first.

    Costs are those at the least widths. Shares overlap, since a layer between two groups counts in both.
    """
    each, lines = _terms(net, budget, name)
    found = []
    for group in net.frozen:
        mine = np.zeros(net.trace.count, np.bool_)
        for member in group.members:
            mine[net.trace.tensors[member.tensor][member.dim][member.places]] = True
        here = [any(mine[line].any() for line in of) for of in lines]
        found.append((float(each[here].sum() / each.sum()), group))
    return sorted(found, key=lambda pair: -pair[0])


def _terms(net: Structure, budget: Budget, name: str) -> tuple[FloatArray, list[Sequence[IntArray]]]:
    """The terms that add up to a cost at the least widths, and the atoms along each term's dimensions."""
    costs, least, trace = net.space.costs, net.space.min_widths, net.trace
    products = [(product.rows, product.columns) for product in trace.products]
    if name == "parameters":
        trainable = [trace.tensors[each] for each, _ in net.model.named_parameters()]
        return costs.parameters.scale * costs.parameters.factors(least), list(trainable)
    if name == "memory":
        sizes = costs.memory.sizes.scale * costs.memory.sizes.factors(least)
        worst = int((sizes @ costs.memory.liveness).argmax())
        return sizes * costs.memory.liveness[:, worst], [activation.lines for activation in trace.activations]
    if name == "latency":
        assert budget.timed is not None  # Budget sees to it
        return budget.timed.layers(least)[1:], list(products)
    return costs.macs.scale * costs.macs.factors(least), list(products)
