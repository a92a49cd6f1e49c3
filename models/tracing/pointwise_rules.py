"""Rules of operations that leave channels where they are: pointwise functions, dropout, gates."""

import numpy as np

from .atoms import Labels, widened
from .ledger import Ledger
from .op_call import Call, aten


def unknown(ledger: Ledger, call: Call) -> list[Labels]:
    """Not understood: none of its inputs can be narrowed."""
    for x in call.tensors:
        ledger.freeze(ledger.labels(x), f"goes through {call.name}, which is not understood")
    return [[] for _ in call.results]


def factory(ledger: Ledger, call: Call) -> list[Labels]:
    """A tensor of the kind of another, of a size that forward chooses: it has none of the other's values.

    An empty one of the other's images and channels and nothing else, as dropout of whole channels draws it, is as wide.
    """
    x, size = call.args[0], list(call.args[1])
    noise = call.func.overloadpacket is aten.new_empty and size == [*x.shape[:2], *[1] * (x.ndim - 2)]
    return [[each for each in ledger.labels(x) if noise and each.shape[1] == each.size]]


def pointwise(ledger: Ledger, call: Call) -> list[Labels]:
    """Element by element: channels that meet are tied."""
    ndim = call.results[0].ndim
    labels = [widened(each, ndim) for x in call.tensors for each in ledger.labels(x)]
    if len(labels) == len(call.tensors) == 1:  # an activation, mostly: there is nothing that it could meet
        return [labels]
    fixed = [x.reshape([1] * (ndim - x.ndim) + list(x.shape)) for x in call.tensors if not ledger.labels(x)]
    return [ledger.meet(labels, fixed)]


def dropout(ledger: Ledger, call: Call) -> list[Labels]:
    """Dropout in training: the result and the mask."""
    return [ledger.labels(call.args[0]) for _ in call.results]


def glu(ledger: Ledger, call: Call) -> list[Labels]:
    """Gated linear unit: the first half times the sigmoid of the second, so the halves stay equal."""
    x = call.args[0]
    dim = call.args[1] if len(call.args) > 1 else -1
    gated = []
    for each in ledger.labels(x):
        if each.shape[dim] > 1:
            first, second = np.split(each, 2, dim)
            ledger.tie(first, second)
            each = first
        gated.append(each)
    return [gated]
