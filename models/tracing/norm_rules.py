"""Rules of norms and other reductions: over space channels go through, over channels they are statistics."""

from collections.abc import Sequence
from math import prod

import numpy as np
from torch import Tensor

from .atoms import IntArray, Labels
from .ledger import Ledger
from .op_call import Call
from .view_rules import one_part


def batch_norm(ledger: Ledger, call: Call) -> list[Labels]:
    """Batch norm: its vectors belong to the channels of its input. One of a weight takes statistics of its filters."""
    x = call.args[0]
    channels = ledger.along(x, 1)
    over = [each for each in ledger.labels(x) if each.shape[1] == 1]
    if ledger.is_weight(x) and call.args[5]:
        for each in over:
            reduce_over(ledger, x, int(np.argmax(each.shape)), each.reshape(-1))
    else:
        ledger.freeze(over, "is normalised over")
    for vector in call.args[1:5]:
        if channels is not None and vector is not None:
            belongs(ledger, channels, vector)
    return [ledger.labels(x)] + [[] for _ in call.results[1:]]


def layer_norm(ledger: Ledger, call: Call) -> list[Labels]:
    """Layer norm: its weights belong to the channels it reduces over; fewer of them change its statistics."""
    x, shape, *vectors = call.args[:4]
    for each in ledger.labels(x):
        if prod(each.shape[x.ndim - len(shape) :]) > 1:
            ledger.normalise(each.reshape(-1))
            if len(shape) > 1 or vectors[0] is None:
                ledger.freeze([each], "is normalised over without a weight of its own")
            for vector in vectors:
                if vector is not None:
                    belongs(ledger, each.reshape(-1), vector)
    return [ledger.labels(x)] + [[] for _ in call.results[1:]]


def group_norm(ledger: Ledger, call: Call) -> list[Labels]:
    """Group norm: every group keeps equally many channels, and its statistics are of those that stay."""
    x, weight, bias, *_, groups, _eps = call.args
    channels = ledger.along(x, 1)
    if channels is not None:
        parts = channels.reshape(groups, -1)
        if parts.shape[1] > 1:
            ledger.tie(parts[:1], parts)
            ledger.normalise(channels)
        for vector in (weight, bias):
            if vector is not None:
                belongs(ledger, channels, vector)
        if weight is None:
            ledger.freeze([channels], "is normalised over without a weight of its own")
    return [ledger.labels(x)] + [[] for _ in call.results[1:]]


def belongs(ledger: Ledger, channels: IntArray, vector: Tensor) -> None:
    """A vector with one number a channel lives and dies with the channels; one that nobody can narrow keeps them."""
    if ledger.labels(vector):
        ledger.tie(channels, ledger.labels(vector)[0])
    else:
        ledger.freeze([channels], "meets a tensor of a fixed size that forward makes")


def softmax(ledger: Ledger, call: Call) -> list[Labels]:
    """Softmax along one dimension: fine in space, freezing among channels."""
    x, dim = call.args[0], call.args[1] % call.args[0].ndim
    labels = [one_part(ledger, each, [dim]) for each in ledger.labels(x)]
    ledger.freeze([each for each in labels if each.shape[dim] > 1], f"is weighed against other channels by {call.name}")
    return [labels]


def reduction(ledger: Ledger, call: Call) -> list[Labels]:
    """Sum, maximum, mean, deviation, norm: over space channels go through, over channels it is of those that stay."""
    x, dims = call.args[0], _dims(call, 2 if "norm" in call.name else 1)
    labels = [one_part(ledger, each, dims) for each in ledger.labels(x)]
    for each in labels:
        over = [d for d in dims if each.shape[d] > 1]
        if over and each.size == each.shape[over[0]]:
            reduce_over(ledger, x, over[0], each.reshape(-1))
            for places in call.results[1:]:
                if not places.is_floating_point():
                    ledger.guard(places, each.reshape(-1), f"is counted from the first channel on by {call.name}")
        elif over:
            ledger.freeze([each], f"is reduced over by {call.name}")
    return _reduced(call, labels, dims)


def reduce_over(ledger: Ledger, x: Tensor, dim: int, atoms: IntArray) -> None:
    """The first argument ``x`` is reduced over these channels: the result is of those that stay."""
    ledger.reduce(0, dim, atoms)
    ledger.normalise(atoms)
    if not ledger.is_weight(x):
        ledger.sum_over(atoms)


def choice(ledger: Ledger, call: Call) -> list[Labels]:
    """The place of the largest: in space channels go through, among channels its number needs all of them."""
    dims = _dims(call, 1)
    labels = [one_part(ledger, each, dims) for each in ledger.labels(call.args[0])]
    over = [each for each in labels if any(each.shape[d] > 1 for d in dims)]
    ledger.freeze(over, f"is reduced over by {call.name}")
    return _reduced(call, labels, dims)


def _dims(call: Call, at: int) -> list[int]:
    """The dimensions that a reduction works on, from this place of its arguments; by default all."""
    dims = call.args[at] if len(call.args) > at else call.kwargs.get("dim")
    ndim = call.args[0].ndim
    return [d % ndim for d in ([dims] if isinstance(dims, int) else dims or range(ndim))]


def _reduced(call: Call, labels: Labels, dims: Sequence[int]) -> list[Labels]:
    """The labels behind a reduction."""
    x = call.args[0]
    kept = [each for each in labels if all(each.shape[d] == 1 for d in dims)]
    if call.results[0].ndim < x.ndim:
        kept = [each.reshape([n for d, n in enumerate(each.shape) if d not in dims]) for each in kept]
    return [kept for _ in call.results]
