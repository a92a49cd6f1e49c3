"""The rule of writing into a part of a tensor: a concatenation, written out."""

import numpy as np
import torch
from torch import Tensor

from .atoms import NOTHING, IntArray, Labels, compact, something
from .ledger import Ledger
from .op_call import Call
from .pointwise_rules import pointwise


def write(ledger: Ledger, call: Call) -> list[Labels]:
    """A copy into a part of a tensor that forward makes labels that part; any other is element by element."""
    part, source = call.args[:2]
    whole = part._base
    labels = [each for each in ledger.labels(source) if each.size > 1]
    if whole is None or not whole.is_contiguous() or not ledger.is_blank(whole) or len(labels) > 1:
        return pointwise(ledger, call)
    written = np.broadcast_to(labels[0], part.shape) if labels else np.full(part.shape, NOTHING)
    along = {_same(whole, part, d) for each in labels for d, n in enumerate(_widened(each, part.ndim)) if n > 1}
    canvas, before = ledger.canvas(whole)
    places = torch.from_numpy(canvas).as_strided(
        part.shape, part.stride(), part.storage_offset() - whole.storage_offset()
    )
    places.copy_(torch.from_numpy(np.ascontiguousarray(written)))
    ledger.draw(whole, canvas, before | along, _outline(ledger, canvas, before | along))
    return [ledger.labels(source)]


def _widened(labels: IntArray, ndim: int) -> tuple[int, ...]:
    """The shape of labels as it broadcasts."""
    return (1,) * (ndim - labels.ndim) + labels.shape


def _same(whole: Tensor, part: Tensor, dim: int) -> int:
    """The dimension of the whole, which is contiguous, that a part has as its ``dim``, perhaps in larger steps."""
    return next(d for d in range(whole.ndim) if whole.shape[d] > 1 and whole.stride(d) <= part.stride(dim))


def _outline(ledger: Ledger, canvas: IntArray, along: set[int]) -> Labels:
    """The labels of the whole: what was written side by side across channels meets, as in a stack."""
    for dim in set(range(canvas.ndim)) - along:
        largest = canvas.max(dim, keepdims=True)
        met = (canvas != NOTHING) & (canvas != largest)
        if met.any():
            ledger.tie(np.broadcast_to(largest, canvas.shape)[met], canvas[met])
        canvas = largest
    return something([compact(canvas)])
