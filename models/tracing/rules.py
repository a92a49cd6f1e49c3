"""What each operation of torch does to labels.

Operations that compute tie together what they join, and say what they make and read. Those that only move
elements have their rules in ``moves``. An operation that has no rule freezes what it touches.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .atoms import NOBODY, NOTHING, Atoms, IntArray, Labels, Product, lay, meet, something, widened
from .op_call import Call, OpRule, aten
from .view_rules import MOVES, one_part


def rule_of(func: Any) -> OpRule:
    """The rule of an operation: its own, that of all pointwise ones, or freezing."""
    if func.overloadpacket in OP_RULES:
        return OP_RULES[func.overloadpacket]
    return pointwise if torch.Tag.pointwise in func.tags else freezes


def is_product(func: Any) -> bool:
    """Whether an operation multiplies and accumulates: what costs count."""
    return func.overloadpacket in PRODUCTS


def computes(func: Any) -> bool:
    """Whether an operation computes anything that costs do not count."""
    return func.overloadpacket not in IDLE


def freezes(atoms: Atoms, call: Call) -> list[Labels]:
    """Not understood: nothing that goes in can be narrowed."""
    for x in call.tensors:
        atoms.freeze(atoms.of(x), f"goes through {call.name}, which is not understood")
    return [[] for _ in call.results]


def layer_norm(atoms: Atoms, call: Call) -> list[Labels]:
    """Layer norm: its weights belong to the channels it reduces over; fewer of them change its statistics."""
    x, shape, *vectors = call.args[:4]
    for each in atoms.of(x):
        if prod(each.shape[x.ndim - len(shape) :]) > 1:
            atoms.normed.append(each.reshape(-1))
            if len(shape) > 1 or vectors[0] is None:
                atoms.freeze([each], "is normalised over without a weight of its own")
            for vector in vectors:
                if vector is not None:
                    _belongs(atoms, each.reshape(-1), vector)
    return [atoms.of(x)] + [[] for _ in call.results[1:]]


def group_norm(atoms: Atoms, call: Call) -> list[Labels]:
    """Group norm: every group keeps equally many channels, and its statistics are of those that stay."""
    x, weight, bias, *_, groups, _eps = call.args
    channels = atoms.along(x, 1)
    if channels is not None:
        parts = channels.reshape(groups, -1)
        if parts.shape[1] > 1:
            atoms.tie(parts[:1], parts)
            atoms.normed.append(channels)
        for vector in (weight, bias):
            if vector is not None:
                _belongs(atoms, channels, vector)
        if weight is None:
            atoms.freeze([channels], "is normalised over without a weight of its own")
    return [atoms.of(x)] + [[] for _ in call.results[1:]]


def softmax(atoms: Atoms, call: Call) -> list[Labels]:
    """Softmax along one dimension: fine in space, freezing among channels."""
    x, dim = call.args[0], call.args[1] % call.args[0].ndim
    labels = [one_part(atoms, each, [dim]) for each in atoms.of(x)]
    atoms.freeze([each for each in labels if each.shape[dim] > 1], f"is weighed against other channels by {call.name}")
    return [labels]


def factory(atoms: Atoms, call: Call) -> list[Labels]:
    """A tensor of the kind of another, of a size that forward gives: nothing of the other is in it."""
    return [[]]


def pointwise(atoms: Atoms, call: Call) -> list[Labels]:
    """Element by element: channels that meet are tied."""
    ndim = call.results[0].ndim
    labels = [widened(each, ndim) for x in call.tensors for each in atoms.of(x)]
    if len(labels) == len(call.tensors) == 1:  # an activation, mostly: there is nothing that it could meet
        return [labels]
    fixed = [x.reshape([1] * (ndim - x.ndim) + list(x.shape)) for x in call.tensors if not atoms.of(x)]
    return [meet(atoms, labels, fixed)]


def dropout(atoms: Atoms, call: Call) -> list[Labels]:
    """Dropout in training: the result and the mask."""
    return [atoms.of(call.args[0]) for _ in call.results]


def batch_norm(atoms: Atoms, call: Call) -> list[Labels]:
    """Batch norm: its vectors belong to the channels of its input."""
    x = call.args[0]
    channels = atoms.along(x, 1)
    atoms.freeze([each for each in atoms.of(x) if each.shape[1] == 1], "is normalised over")
    for vector in call.args[1:5]:
        if channels is not None and vector is not None:
            _belongs(atoms, channels, vector)
    return [atoms.of(x)] + [[] for _ in call.results[1:]]


def _belongs(atoms: Atoms, channels: IntArray, vector: Tensor) -> None:
    """A vector with one number a channel lives and dies with the channels; one that nobody can narrow keeps them."""
    if atoms.of(vector):
        atoms.tie(channels, atoms.of(vector)[0])
    else:
        atoms.freeze([channels], "meets a tensor of a fixed size that forward makes")


def pooling(atoms: Atoms, call: Call) -> list[Labels]:
    """Works on space alone: labels along batch and channels go through."""
    x, dims = call.args[0], next(n for n in (1, 2, 3) if f"{n}d" in call.name)
    space = [each for each in atoms.of(x) if prod(each.shape[-dims:]) > 1]
    atoms.freeze(space, f"lies in space where {call.name} works")
    kept = [each for each in atoms.of(x) if prod(each.shape[-dims:]) == 1]
    return [kept for _ in call.results]


def glu(atoms: Atoms, call: Call) -> list[Labels]:
    """Gated linear unit: the first half times the sigmoid of the second, so the halves stay equal."""
    x = call.args[0]
    dim = call.args[1] if len(call.args) > 1 else -1
    gated = []
    for each in atoms.of(x):
        if each.shape[dim] > 1:
            first, second = np.split(each, 2, dim)
            atoms.tie(first, second)
            each = first
        gated.append(each)
    return [gated]


def reduction(atoms: Atoms, call: Call) -> list[Labels]:
    """Sum or maximum: over space channels go through, over channels they freeze."""
    dims = _dims(call, 1)
    labels = [one_part(atoms, each, dims) for each in atoms.of(call.args[0])]
    over = [each for each in labels if any(each.shape[d] > 1 for d in dims)]
    atoms.freeze(over, f"is reduced over by {call.name}")
    return _reduced(call, labels, dims)


def moments(atoms: Atoms, call: Call) -> list[Labels]:
    """Mean, deviation or norm: over channels it is a statistic, which will be of those that stay."""
    x, dims = call.args[0], _dims(call, 2 if call.func.overloadpacket is aten.linalg_vector_norm else 1)
    labels = [one_part(atoms, each, dims) for each in atoms.of(x)]
    for each in labels:
        along = [d for d, n in enumerate(each.shape) if n > 1]
        if along and along[0] in dims and len(along) == 1:
            atoms.normed.append(each.reshape(-1))
            atoms.statistics.setdefault(atoms.averages, []).append((along[0], each.reshape(-1)))
        elif any(d in dims for d in along):
            atoms.freeze([each], f"is reduced over by {call.name}")
    return _reduced(call, labels, dims)


def _dims(call: Call, at: int) -> list[int]:
    """The dimensions that a reduction works on, given at this place of its arguments; by default all."""
    given = call.args[at] if len(call.args) > at else call.kwargs.get("dim")
    ndim = call.args[0].ndim
    return [d % ndim for d in ([given] if isinstance(given, int) else given or range(ndim))]


def _reduced(call: Call, labels: Labels, dims: Sequence[int]) -> list[Labels]:
    """What is left of labels behind a reduction."""
    x = call.args[0]
    kept = [each for each in labels if all(each.shape[d] == 1 for d in dims)]
    if call.results[0].ndim < x.ndim:
        kept = [each.reshape([n for d, n in enumerate(each.shape) if d not in dims]) for each in kept]
    return [kept for _ in call.results]


def convolution(atoms: Atoms, call: Call) -> list[Labels]:
    """Convolution, also transposed or grouped: reads its input's channels and makes its filters' ones."""
    x, weight, bias, _stride, _padding, _dilation, transposed, _, groups = call.args
    makes, reads = (_places(atoms, weight, dim) for dim in (0, 1))
    atoms.freeze([each for each in atoms.of(x) if each.shape[1] == 1], f"lies in space where {call.name} works")
    pixels = x.shape[0] * (x if transposed else call.results[0]).shape[2:].numel()
    _count(atoms, weight, pixels * weight.shape[2:].numel(), makes, reads)
    if transposed:
        makes, reads = reads, makes
    makes = _connect(atoms, atoms.along(x, 1), reads, makes, groups, transposed)
    if bias is not None and len(bias) > 1:
        _belongs(atoms, makes, bias)
    atoms.made.append(makes)
    return [something([lay(makes, 1, x.ndim)])]


def _connect(
    atoms: Atoms, arriving: IntArray | None, reads: IntArray, makes: IntArray, groups: int, transposed: bool
) -> IntArray:
    """Tie a convolution's input to what reads it. Returns the labels of its output channels.

    Every group of a grouped convolution keeps the same positions, so that the groups stay equal. A
    depthwise one mixes no channels: each of its outputs lives or dies with the one input that it reads.
    """
    if arriving is None:
        if groups > 1 and not transposed:
            atoms.freeze([makes], "goes through a grouped convolution of channels that stay")
        return np.tile(makes, groups) if transposed else makes
    if transposed and groups > 1:
        atoms.tie(arriving, reads)
        atoms.freeze([reads, makes], "goes through a grouped transposed convolution")
        return np.tile(makes, groups)
    if groups > 1 and len(reads) == 1:
        atoms.tie(arriving[:, None], makes.reshape(groups, -1))
        return makes
    if groups > 1:
        atoms.tie(makes.reshape(groups, -1)[:1], makes.reshape(groups, -1))
    atoms.tie(arriving.reshape(groups, -1), reads[None])
    atoms.read.append(reads)
    return makes


def matmul(atoms: Atoms, call: Call) -> list[Labels]:
    """Matrix product (..., m, k) x (..., k, n), perhaps added to a bias: sums over k.

    With a weight on the right it makes n, with one on the left m.
    """
    *bias, a, b = call.args
    m, n = atoms.along(a, a.ndim - 2), atoms.along(b, b.ndim - 1)
    left, right = atoms.along(a, a.ndim - 1), atoms.along(b, b.ndim - 2)
    weight, made, read = (b, n, right) if atoms.is_weight(b) else (a, m, left)
    if left is not None and right is not None and read is not None and atoms.is_weight(weight):
        atoms.tie(left, right)
        atoms.read.append(read)
    else:
        atoms.freeze([e for e in (left, right) if e is not None], "is summed over in a product of activations")
    sizes = [(right, a.shape[-1]), (n, b.shape[-1]), (m, a.shape[-2])]
    sizes = sizes if weight is b else [sizes[0], *sizes[:0:-1]]  # the third is nobody's channels: places in space
    rows, columns, *more = [e for e, _ in sizes if e is not None] + [NOBODY[None]] * 2
    atoms.freeze(something(more), "is one of three sizes of a product")
    fixed = prod(size for each, size in sizes if each is None or any(each is e for e in more))
    _count(atoms, weight, prod(a.shape[:-2]) * fixed, rows, columns)
    ndim = call.results[0].ndim
    out = [lay(e, d, ndim) for e, d in ((m, ndim - 2), (n, ndim - 1)) if e is not None]
    if made is not None and atoms.is_weight(weight):
        atoms.made.append(made)
    return [something(meet(atoms, [*out, *(widened(e, ndim) for e in atoms.of(bias[0]))], []) if bias else out)]


def _places(atoms: Atoms, weight: Tensor, dim: int) -> IntArray:
    """The labels of a weight along one dimension, whatever its size."""
    labels = atoms.along(weight, dim)
    return labels if labels is not None else np.full(weight.shape[dim], NOTHING)


def _count(atoms: Atoms, weight: Tensor, scale: int, rows: IntArray, columns: IntArray) -> None:
    named = next((int(e.flat[0]) for e in atoms.of(weight)), NOTHING) if atoms.is_weight(weight) else NOTHING
    name = atoms.owner(named) if named else "a product of activations"
    atoms.products.append(Product(name, scale, rows, columns))


COPIES = [aten._to_copy, aten.copy_, aten.fill_, aten.zero_, aten.zeros_like, aten.ones_like, aten.empty_like]
MAKES = [aten.new_zeros, aten.new_ones, aten.new_empty, aten.new_full]
AVERAGES = {aten.mean, aten.var, aten.std, aten.var_mean, aten.std_mean, aten.linalg_vector_norm}
PRODUCTS: dict[Any, OpRule] = {
    aten.convolution: convolution,
    **dict.fromkeys([aten.mm, aten.addmm, aten.bmm, aten.baddbmm], matmul),
}
IDLE = {*PRODUCTS, *MOVES, *COPIES, *MAKES}  # operations that compute nothing, or that costs count
OP_RULES: dict[Any, OpRule] = {
    **MOVES,
    **PRODUCTS,
    aten.native_layer_norm: layer_norm,
    aten.native_group_norm: group_norm,
    aten.glu: glu,
    **dict.fromkeys(AVERAGES, moments),
    **dict.fromkeys([aten._softmax, aten._safe_softmax, aten._log_softmax], softmax),
    **dict.fromkeys([*COPIES, aten.hardswish, aten.hardswish_, aten.mish_, aten._prelu_kernel], pointwise),
    **dict.fromkeys(MAKES, factory),
    **dict.fromkeys([aten.native_dropout, aten.bernoulli, aten.bernoulli_], dropout),
    **dict.fromkeys([aten.native_batch_norm, aten.cudnn_batch_norm], batch_norm),
    **dict.fromkeys(
        [
            aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.avg_pool2d, aten.avg_pool3d,
            aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d,
            aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d, aten.upsample_linear1d,
            aten.upsample_bilinear2d, aten._upsample_bilinear2d_aa, aten.upsample_bicubic2d, aten.upsample_trilinear3d,
            aten.reflection_pad1d, aten.reflection_pad2d, aten.replication_pad1d, aten.replication_pad2d,
        ],
        pooling,
    ),
    **dict.fromkeys([aten.sum, aten.amax, aten.amin, aten.max, aten.min, aten.argmax, aten.logsumexp], reduction),
}  # fmt: skip
