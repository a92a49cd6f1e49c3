"""What each operation of torch does to labels.

Operations that only move elements (view, permute, slice, cat, ...) are run by torch on the labels as well, so
their index maps are right by construction. Operations that compute tie together what they join. An
operation that has no rule freezes what it touches.
"""

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .atoms import NOTHING, Atoms, Labels, Product, compact, lay, something, widened

aten = torch.ops.aten


class Call(NamedTuple):
    """One operation as it ran: what was called, with what, and what came out."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Any]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return [x for x in tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]


Rule: TypeAlias = Callable[[Atoms, Call], list[Labels]]  # -> the labels of each result


def rule_of(func: Any) -> Rule:
    """The rule of an operation: its own, that of all pointwise ones, or freezing."""
    if func.overloadpacket in RULES:
        return RULES[func.overloadpacket]
    return meets if torch.Tag.pointwise in func.tags else freezes


def freezes(atoms: Atoms, call: Call) -> list[Labels]:
    """Not understood: nothing that goes in can be narrowed."""
    for x in call.tensors:
        atoms.freeze(atoms.of(x), f"goes through {call.func.overloadpacket}, which is not understood")
    return [[] for _ in call.results]


def moves(atoms: Atoms, call: Call) -> list[Labels]:
    """Elements move and none changes: the same is done to the labels."""
    x, *rest = call.args
    moved: list[Labels] = [[] for _ in call.results]
    for each in atoms.of(x):
        # labels are expanded, not contiguous: torch can reshape them but not view them
        move = torch.reshape if call.func.overloadpacket in (aten.view, aten._unsafe_view) else call.func
        after = move(each.expand(x.shape), *rest, **call.kwargs)
        for labels, part in zip(moved, after if isinstance(after, (tuple, list)) else [after], strict=True):
            labels.append(compact(part))
            if sum(n > 1 for n in labels[-1].shape) > 1:
                atoms.freeze([labels[-1]], "is spread over two dimensions by a reshape")
    for labels in moved:
        met = [e for i, e in enumerate(labels) for o in labels[:i] if _share(e, o)]
        atoms.freeze([o for e in met for o in labels if _share(e, o)], "shares a dimension with others by a reshape")
    for result in call.results:
        atoms.move(x, result)
    return [something(labels) for labels in moved]


def _share(a: Tensor, b: Tensor) -> bool:
    """Whether both vary along one and the same dimension."""
    return any(n > 1 and m > 1 for n, m in zip(a.shape, b.shape, strict=True))


def cuts(atoms: Atoms, call: Call) -> list[Labels]:
    """A part along one dimension: in space channels go through; among channels the cut is at a fixed place."""
    x, size = call.args[0], sum(part.numel() for part in call.results)
    named = call.args[1 if call.func.overloadpacket in (aten.slice, aten.select, aten.unbind) else 2 :]
    dim = (named[0] if named else call.kwargs.get("dim", 0)) % x.ndim
    if len(call.results) > 1 or size < x.numel():
        across = [each for each in atoms.of(x) if each.shape[dim] > 1]
        atoms.freeze(across, "is cut at a fixed place")
    return moves(atoms, call)


def concatenates(atoms: Atoms, call: Call) -> list[Labels]:
    """Labels along the dimension are laid end to end; along the others the parts meet."""
    parts: list[Tensor] = [part for part in call.args[0] if part.ndim == call.results[0].ndim]
    dim = (call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)) % parts[0].ndim
    along = [next((e for e in atoms.of(p) if e.shape[dim] > 1), torch.tensor(NOTHING)) for p in parts]
    across = [e for p in parts for e in atoms.of(p) if e.shape[dim] == 1]
    fixed = [p for p in parts if not atoms.of(p)]
    laid = torch.cat([e.expand(p.shape) for e, p in zip(along, parts, strict=True)], dim)
    return [something([*_meet(atoms, across, fixed), compact(laid)])]


def pads(atoms: Atoms, call: Call) -> list[Labels]:
    """Padding in space changes nothing; new places among channels belong to nobody."""
    x, pad = call.args[0], call.args[1]
    padded = []
    for each in atoms.of(x):
        varies = [each.shape[x.ndim - 1 - i // 2] > 1 for i in range(len(pad))]
        padded.append(F.pad(each, [n if v else 0 for n, v in zip(pad, varies, strict=True)], value=NOTHING))
    return [padded]


def meets(atoms: Atoms, call: Call) -> list[Labels]:
    """Element by element: channels that meet are tied."""
    ndim = call.results[0].ndim
    labels = [widened(each, ndim) for x in call.tensors for each in atoms.of(x)]
    fixed = [x.reshape([1] * (ndim - x.ndim) + list(x.shape)) for x in call.tensors if not atoms.of(x)]
    return [_meet(atoms, labels, fixed)]


def _meet(atoms: Atoms, labels: Iterable[Tensor], fixed: Sequence[Tensor]) -> Labels:
    """Tie labels that vary along the same dimension; freeze those that meet a tensor of a fixed size."""
    kept: Labels = []
    for each in labels:
        varies = [d for d, n in enumerate(each.shape) if n > 1]
        if any(x.shape[d] > 1 for x in fixed for d in varies):
            atoms.freeze([each], "meets a tensor of a fixed size that forward makes")
        partner = next((k for k in kept if any(k.shape[d] > 1 for d in varies)), None)
        if partner is None:
            kept.append(each)
        else:
            atoms.tie(partner, each)
    return kept


def normalises(atoms: Atoms, call: Call) -> list[Labels]:
    """Batch norm: its vectors belong to the channels of its input."""
    x = call.args[0]
    channels = atoms.along(x, 1)
    atoms.freeze([each for each in atoms.of(x) if each.shape[1] == 1], "is normalised over")
    for vector in call.args[1:5]:
        if channels is not None and vector is not None:
            _belongs(atoms, channels, vector)
    return [atoms.of(x)] + [[] for _ in call.results[1:]]


def _belongs(atoms: Atoms, channels: Tensor, vector: Tensor) -> None:
    """A vector with one number a channel lives and dies with the channels; one that nobody can narrow keeps them."""
    if atoms.of(vector):
        atoms.tie(channels, atoms.of(vector)[0])
    else:
        atoms.freeze([channels], "meets a tensor of a fixed size that forward makes")


def pools(atoms: Atoms, call: Call) -> list[Labels]:
    """Works on space alone: labels along batch and channels go through."""
    x = call.args[0]
    space = [each for each in atoms.of(x) if each.shape[-2:].numel() > 1]
    atoms.freeze(space, f"lies in space where {call.func.overloadpacket} works")
    kept = [each for each in atoms.of(x) if each.shape[-2:].numel() == 1]
    return [kept for _ in call.results]


def reduces(atoms: Atoms, call: Call) -> list[Labels]:
    """Mean, sum or maximum: over space channels go through, over channels they freeze."""
    x, given = call.args[0], call.args[1] if len(call.args) > 1 else None
    dims = [d % x.ndim for d in ([given] if isinstance(given, int) else given or range(x.ndim))]
    over = [each for each in atoms.of(x) if any(each.shape[d] > 1 for d in dims)]
    atoms.freeze(over, f"is reduced over by {call.func.overloadpacket}")
    kept = [each for each in atoms.of(x) if all(each.shape[d] == 1 for d in dims)]
    if call.results[0].ndim < x.ndim:
        kept = [each.reshape([n for d, n in enumerate(each.shape) if d not in dims]) for each in kept]
    return [kept for _ in call.results]


def convolves(atoms: Atoms, call: Call) -> list[Labels]:
    """Convolution, also transposed or grouped: reads its input's channels and makes its filters' ones."""
    x, weight, bias, _stride, _padding, _dilation, transposed, _, groups = call.args
    makes, reads = (_places(atoms, weight, dim) for dim in (0, 1))
    atoms.freeze(
        [each for each in atoms.of(x) if each.shape[1] == 1], f"lies in space where {call.func.overloadpacket} works"
    )
    pixels = x.shape[0] * (x if transposed else call.results[0]).shape[2:].numel()
    _count(atoms, weight, pixels * weight.shape[2:].numel(), makes, reads)
    if transposed:
        makes, reads = reads, makes
    makes = _connect(atoms, atoms.along(x, 1), reads, makes, groups, transposed)
    if bias is not None and len(bias) > 1:
        _belongs(atoms, makes, bias)
    atoms.made.append(makes.numpy())
    return [something([lay(makes, 1, x.ndim)])]


def _connect(
    atoms: Atoms, arriving: Tensor | None, reads: Tensor, makes: Tensor, groups: int, transposed: bool
) -> Tensor:
    """Tie a convolution's input to what reads it. Returns the labels of its output channels.

    Every group of a grouped convolution keeps the same positions, so that the groups stay equal. A
    depthwise one mixes no channels: each of its outputs lives or dies with the one input that it reads.
    """
    if arriving is None:
        if groups > 1 and not transposed:
            atoms.freeze([makes], "goes through a grouped convolution of channels that stay")
        return makes.repeat(groups) if transposed else makes
    if transposed and groups > 1:
        atoms.tie(arriving, reads)
        atoms.freeze([reads, makes], "goes through a grouped transposed convolution")
        return makes.repeat(groups)
    if groups > 1 and len(reads) == 1:
        atoms.tie(arriving[:, None], makes.reshape(groups, -1))
        return makes
    if groups > 1:
        atoms.tie(makes.reshape(groups, -1)[:1], makes.reshape(groups, -1))
    atoms.tie(arriving.reshape(groups, -1), reads[None])
    atoms.read.append(reads.numpy())
    return makes


def multiplies(atoms: Atoms, call: Call) -> list[Labels]:
    """Matrix product (..., m, k) x (..., k, n), perhaps added to a bias: sums over k, makes n."""
    *bias, a, b = call.args
    m, n = atoms.along(a, a.ndim - 2), atoms.along(b, b.ndim - 1)
    left, right = atoms.along(a, a.ndim - 1), atoms.along(b, b.ndim - 2)
    if left is not None and right is not None and atoms.is_weight(b):
        atoms.tie(left, right)
        atoms.read.append(right.numpy())
    else:
        atoms.freeze([e for e in (left, right) if e is not None], "is summed over in a product of activations")
    sizes = [(m, a.shape[-2]), (right, a.shape[-1]), (n, b.shape[-1])]
    rows, columns, *more = [e for e, _ in sizes if e is not None] + [torch.tensor([NOTHING])] * 2
    atoms.freeze(something(more), "is one of three sizes of a product")
    fixed = prod(size for each, size in sizes if each is None or any(each is e for e in more))
    _count(atoms, b, prod(a.shape[:-2]) * fixed, rows, columns)
    ndim = call.results[0].ndim
    out = [lay(e, d, ndim) for e, d in ((m, ndim - 2), (n, ndim - 1)) if e is not None]
    if n is not None and atoms.is_weight(b):
        atoms.made.append(n.numpy())
    return [something(_meet(atoms, [*out, *(widened(e, ndim) for e in atoms.of(bias[0]))], []) if bias else out)]


def _places(atoms: Atoms, weight: Tensor, dim: int) -> Tensor:
    """The labels of a weight along one dimension, whatever its size."""
    labels = atoms.along(weight, dim)
    return labels if labels is not None else torch.full((weight.shape[dim],), NOTHING)


def _count(atoms: Atoms, weight: Tensor, scale: int, rows: Tensor, columns: Tensor) -> None:
    named = next((int(e.flatten()[0]) for e in atoms.of(weight)), NOTHING) if atoms.is_weight(weight) else NOTHING
    name = atoms.owner(named) if named else "a product of activations"
    atoms.products.append(Product(name, scale, np.asarray(rows), np.asarray(columns)))


RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        [
            aten.view, aten._unsafe_view, aten.t, aten.transpose, aten.permute, aten.squeeze, aten.unsqueeze,
            aten.expand, aten.repeat, aten.clone, aten.alias, aten.detach,
        ],
        moves,
    ),
    **dict.fromkeys([aten.slice, aten.select, aten.split, aten.split_with_sizes, aten.unbind], cuts),
    aten.cat: concatenates,
    aten.constant_pad_nd: pads,
    **dict.fromkeys(
        [
            aten._to_copy, aten.copy_, aten.hardswish, aten.hardswish_, aten.mish_, aten._prelu_kernel,
            aten.zeros_like, aten.ones_like, aten.empty_like,
        ],
        meets,
    ),
    **dict.fromkeys([aten.native_batch_norm, aten.cudnn_batch_norm], normalises),
    **dict.fromkeys(
        [
            aten.max_pool2d_with_indices, aten.avg_pool2d, aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d,
            aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.reflection_pad2d, aten.replication_pad2d,
        ],
        pools,
    ),
    **dict.fromkeys([aten.mean, aten.sum, aten.amax, aten.amin], reduces),
    aten.convolution: convolves,
    **dict.fromkeys([aten.mm, aten.addmm, aten.bmm, aten.baddbmm], multiplies),
}  # fmt: skip
