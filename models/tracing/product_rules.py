"""Rules of convolutions and matrix products: they read the channels of their input and make those of their output."""

from collections.abc import Sequence
from math import prod

import numpy as np
from torch import Tensor

from .atoms import NOBODY, NOTHING, IntArray, Labels, lay, something, widened
from .ledger import Ledger
from .norm_rules import belongs
from .op_call import Call, aten


def convolution(ledger: Ledger, call: Call) -> list[Labels]:
    """Convolution, also transposed or grouped: reads its input's channels and makes its filters' ones."""
    x, weight, bias, _stride, _padding, _dilation, transposed, _, groups = call.args
    makes, reads = (_places(ledger, weight, dim) for dim in (0, 1))
    ledger.freeze([each for each in ledger.labels(x) if each.shape[1] == 1], f"lies in space where {call.name} works")
    pixels = x.shape[0] * (x if transposed else call.results[0]).shape[2:].numel()
    ledger.product(weight, pixels * weight.shape[2:].numel(), makes, reads)
    if transposed:
        makes, reads = reads, makes
    arriving = ledger.along(x, 1)
    makes = _connect(ledger, arriving, reads, makes, groups=groups, transposed=transposed)
    if arriving is not None and len(reads) > 1 and not ledger.is_parameter(weight):
        ledger.reduce(0, 1, arriving)
    if bias is not None and len(bias) > 1:
        belongs(ledger, makes, bias)
    ledger.produce(makes)
    return [something([lay(makes, 1, x.ndim)])]


def _connect(
    ledger: Ledger, arriving: IntArray | None, reads: IntArray, makes: IntArray, *, groups: int, transposed: bool
) -> IntArray:
    """Tie a convolution's input to the places that read it. Returns the labels of its output channels.

    Every group of a grouped convolution keeps the same positions, so that the groups stay equal. A
    depthwise one mixes no channels: each of its outputs lives or dies with the one input that it reads.
    """
    if arriving is None:
        if groups > 1 and not transposed:
            ledger.freeze([makes], "goes through a grouped convolution of channels that stay")
        return np.tile(makes, groups) if transposed else makes
    if transposed and groups > 1:
        return _connect_transposed(ledger, arriving, reads, makes, groups=groups)
    if groups > 1 and len(reads) == 1:
        ledger.tie(arriving[:, None], makes.reshape(groups, -1))
        return makes
    if groups > 1:
        ledger.tie(makes.reshape(groups, -1)[:1], makes.reshape(groups, -1))
    ledger.tie(arriving.reshape(groups, -1), reads[None])
    ledger.read(reads)
    return makes


def _connect_transposed(
    ledger: Ledger, arriving: IntArray, reads: IntArray, makes: IntArray, *, groups: int
) -> IntArray:
    """The same of a grouped transposed convolution, whose weight has the filters of one group alone."""
    ledger.tie(arriving, reads)
    if len(reads) == groups:  # depthwise
        ledger.freeze([makes], "is one of several filters of each channel")
        return np.repeat(reads, len(makes))
    ledger.tie(reads.reshape(groups, -1)[:1], reads.reshape(groups, -1))
    ledger.read(reads)
    return np.tile(makes, groups)


def deformable(ledger: Ledger, call: Call) -> list[Labels]:
    """Deformable convolution: a convolution whose taps other tensors move and weigh, as places and not as channels."""
    x, weight, offset, mask, bias, *_, groups, offset_groups, _use_mask = call.args
    ledger.freeze([*ledger.labels(offset), *ledger.labels(mask)], f"is a place in space for {call.name}")
    makes, reads, arriving = _places(ledger, weight, 0), _places(ledger, weight, 1), ledger.along(x, 1)
    if arriving is not None and offset_groups > 1:
        ledger.tie(arriving.reshape(offset_groups, -1)[:1], arriving.reshape(offset_groups, -1))
    ledger.product(weight, x.shape[0] * call.results[0].shape[2:].numel() * weight.shape[2:].numel(), makes, reads)
    makes = _connect(ledger, arriving, reads, makes, groups=groups, transposed=False)
    belongs(ledger, makes, bias)
    ledger.produce(makes)
    return [something([lay(makes, 1, x.ndim)])]


def matmul(ledger: Ledger, call: Call) -> list[Labels]:
    """Matrix product (..., m, k) x (..., k, n), perhaps added to a bias: sums over k.

    With a weight on the right it makes n, with one on the left m.
    """
    *bias, a, b = call.args
    m, n = ledger.along(a, a.ndim - 2), ledger.along(b, b.ndim - 1)
    left, right = ledger.along(a, a.ndim - 1), ledger.along(b, b.ndim - 2)
    if ledger.is_weight(a) and ledger.is_weight(b) and not reads_table(ledger, call):
        return _computed_matrix(ledger, call)
    weight, made, read = (b, n, right) if ledger.is_weight(b) else (a, m, left)
    if left is not None and right is not None:
        ledger.tie(left, right)
        if ledger.is_weight(weight) and read is not None:
            ledger.read(read)
        else:
            ledger.sum_over(left)
        if not ledger.is_parameter(weight):
            ledger.reduce(-2, -1, left)
    else:
        ledger.freeze([e for e in (left, right) if e is not None], "is summed over in a product of activations")
    sizes = [(right, a.shape[-1]), (n, b.shape[-1]), (m, a.shape[-2])]
    sizes = sizes if weight is b else [sizes[0], *sizes[:0:-1]]  # the third is nobody's channels: places in space
    _count_product(ledger, weight, prod(a.shape[:-2]), sizes)
    ndim = call.results[0].ndim
    out = [lay(e, d, ndim) for e, d in ((m, ndim - 2), (n, ndim - 1)) if e is not None]
    if made is not None and ledger.is_weight(weight):
        ledger.produce(made)
    return [something(ledger.meet([*out, *(widened(e, ndim) for e in ledger.labels(bias[0]))], []) if bias else out)]


def _count_product(ledger: Ledger, weight: Tensor, products: int, sizes: Sequence[tuple[IntArray | None, int]]) -> None:
    """The MACs of so many products with these labels and sizes of rows, columns and the sum; the third can't narrow."""
    rows, columns, *more = [e for e, _ in sizes if e is not None] + [NOBODY[None]] * 2
    ledger.freeze(something(more), "is one of three sizes of a product")
    fixed = prod(size for each, size in sizes if each is None or any(each is e for e in more))
    ledger.product(weight, products * fixed, rows, columns)


def _computed_matrix(ledger: Ledger, call: Call) -> list[Labels]:
    """A product of weights alone is a weight: the rank of a low-rank one stays, what it reads and makes goes on."""
    *bias, a, b = call.args
    ndim = call.results[0].ndim
    m, n = _places(ledger, a, a.ndim - 2), _places(ledger, b, b.ndim - 1)
    inner = [e for e in (ledger.along(a, a.ndim - 1), ledger.along(b, b.ndim - 2)) if e is not None]
    ledger.freeze(inner, "is the rank of a weight that forward computes")
    ledger.product(a, prod(a.shape[:-2]) * a.shape[-1], m, n)
    out = something([lay(m, ndim - 2, ndim), lay(n, ndim - 1, ndim)])
    return [ledger.meet([*out, *(widened(e, ndim) for x in bias for e in ledger.labels(x))], [])]


def reads_table(ledger: Ledger, call: Call) -> bool:
    """Whether a layer reads buffers as it would an input, and not a weight is computed of them.

    A linear layer has its weight on the right, transposed.
    """
    operation = call.func.overloadpacket
    if operation is aten.convolution:
        x, weight, *_ = call.args
    elif operation in (aten.mm, aten.addmm):
        *_, x, weight = call.args
        if weight.stride(0) != 1:
            return False
    else:
        return False
    return ledger.is_table(x) and ledger.is_parameter(weight) and not ledger.is_table(weight)


def inner_product(ledger: Ledger, call: Call) -> list[Labels]:
    """Matrix times vector, or vector times vector, as spectral norms have it: a sum over those that stay."""
    a, b = call.args
    left, right = ledger.along(a, a.ndim - 1), ledger.along(b, 0)
    if left is None or right is None:
        ledger.freeze([e for e in (left, right) if e is not None], f"is summed over by {call.name}")
    else:
        ledger.tie(left, right)
        ledger.reduce(0, a.ndim - 1, left)
        if not (ledger.is_weight(a) and ledger.is_weight(b)):
            ledger.sum_over(left)
    rows = ledger.along(a, 0) if a.ndim == 2 else None
    return [[] if rows is None else [rows]]


def _places(ledger: Ledger, weight: Tensor, dim: int) -> IntArray:
    """The labels of a weight along one dimension, whatever its size."""
    labels = ledger.along(weight, dim)
    return labels if labels is not None else np.full(weight.shape[dim], NOTHING)
