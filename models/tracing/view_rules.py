"""Rules for operations that move elements without changing any.

Torch runs the same operation on the labels, so index maps are right by construction. Rules only decide
which channels a move couples: parts that must stay equal, places that can't change.
"""

from collections.abc import Sequence
from math import gcd, prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .atoms import NOBODY, NOTHING, IntArray, Labels, compact, lay, something
from .ledger import Ledger
from .op_call import Call, OpRule, aten


def view(ledger: Ledger, call: Call) -> list[Labels]:
    """Elements move and none changes: the same is done to the labels."""
    x, *rest = call.args
    moved: list[Labels] = [[] for _ in call.results]
    # labels are expanded, not contiguous: torch can reshape them but not view them
    move = torch.reshape if call.func.overloadpacket in (aten.view, aten._unsafe_view) else call.func
    for each in ledger.labels(x):
        after = move(torch.from_numpy(each).expand(x.shape), *rest, **call.kwargs)
        for labels, part in zip(moved, after if isinstance(after, (tuple, list)) else [after], strict=True):
            labels.append(compact(part.numpy()))
            if sum(n > 1 for n in labels[-1].shape) > sum(n > 1 for n in each.shape):
                ledger.lay_out(labels[-1])
    for labels in moved:
        if ledger.is_weight(x):
            _drop_later(ledger, labels)
        met = [e for i, e in enumerate(labels) for o in labels[:i] if _share(e, o)]
        ledger.freeze([o for e in met for o in labels if _share(e, o)], "shares a dimension with others by a reshape")
    for result in call.results:
        ledger.alias(x, result)
    return [something(labels) for labels in moved]


def transpose_in_place(ledger: Ledger, call: Call) -> list[Labels]:
    """Dimensions of a tensor change places, whose shape is already the new one."""
    return [[each.swapaxes(*call.args[1:]) for each in ledger.labels(call.args[0])]]


def _drop_later(ledger: Ledger, labels: Labels) -> None:
    """Of a weight's dimensions that a reshape makes one, the first is followed: channels, not places of a kernel."""
    for later in [e for i, e in enumerate(labels) if any(_share(e, first) for first in labels[:i])]:
        ledger.freeze([later], "shares a dimension with others by a reshape")
        labels[:] = [each for each in labels if each is not later]


def one_part(ledger: Ledger, each: IntArray, dims: Sequence[int]) -> IntArray:
    """The labels of the first part, where parts that stay equal are laid along ``dims``; else all of them."""
    first = each
    for dim in dims:
        first = first.take([0], dim)
    if first.size in (1, each.size):
        return each
    return first if ledger.tied(each, first) else each


def _share(a: IntArray, b: IntArray) -> bool:
    """Whether both vary along one and the same dimension."""
    return any(n > 1 and m > 1 for n, m in zip(a.shape, b.shape, strict=True))


def split(ledger: Ledger, call: Call) -> list[Labels]:
    """A part along one dimension. In space channels go through; channels cut into equal parts keep them equal.

    So do parts of one size where attributes of the network hold the sizes of all parts. Any other cut among channels
    is at a fixed place and freezes them. Whether forward computes the place from the width (``chunk``) or has it
    written down (``split(x, 64)``) is for the self-check to find.
    """
    x = call.args[0]
    if ledger.is_canvas(x):
        return _parts_of_canvas(ledger, call)
    named = call.args[1 if call.func.overloadpacket in (aten.slice, aten.select, aten.unbind) else 2 :]
    dim = (named[0] if named else call.kwargs.get("dim", 0)) % x.ndim
    sizes = [part.shape[dim] if part.ndim == x.ndim else 1 for part in call.results]
    for each in ledger.labels(x):
        if one_part(ledger, each, [dim]).shape[dim] > 1 and {*sizes} != {x.shape[dim]}:
            size, laid = min(sizes), np.moveaxis(each, dim, 0)
            uneven = {*sizes} != {size}
            if uneven and _in_tied_blocks(ledger, laid, sizes):
                continue
            if call.func.overloadpacket in (SIZED_SPLITS if uneven else SPLITS) and size > 1 and ledger.holds(sizes):
                _cut(ledger, laid, sizes)
            elif not uneven and x.shape[dim] % size == 0 and size > 1 and _aligned(call, size):
                parts = laid.reshape(-1, size, *laid.shape[1:])
                ledger.tie(parts[:1], parts)
            else:
                for part in call.results:  # one of which perhaps only the size is asked for
                    ledger.guard(part, each, "is cut at a fixed place")
    return view(ledger, call)


def _in_tied_blocks(ledger: Ledger, laid: IntArray, sizes: Sequence[int]) -> bool:
    """Whether parts of these sizes hold whole blocks of channels that stay equal, as (queries, keys and values) do."""
    size = gcd(*sizes)
    blocks = laid.reshape(-1, size, *laid.shape[1:]) if size > 1 and sum(sizes) == len(laid) else laid[None]
    return len(blocks) > 1 and ledger.tied(np.broadcast_to(blocks[:1], blocks.shape), blocks)


def _cut(ledger: Ledger, laid: IntArray, sizes: Sequence[int]) -> None:
    """Cut labels into parts of these sizes along their first dimension; parts of one size stay equal."""
    parts = np.split(laid, np.cumsum(sizes)[:-1])
    first = {len(part): part for part in reversed(parts)}
    for part in parts:
        if part is not first[len(part)]:
            ledger.tie(first[len(part)], part)
    ledger.cut(parts)


def _parts_of_canvas(ledger: Ledger, call: Call) -> list[Labels]:
    """What lies in parts of a tensor that forward writes into, now."""
    canvas, along = ledger.canvas(call.args[0])
    outline = torch.from_numpy(canvas.max(tuple(set(range(canvas.ndim)) - along), keepdims=True)).expand(canvas.shape)
    after = call.func(outline, *call.args[1:], **call.kwargs)
    parts = after if isinstance(after, (tuple, list)) else [after]
    return [something([compact(part.numpy())]) for part in parts]


def _aligned(call: Call, size: int) -> bool:
    """Whether a cut takes whole parts: always so for split, and for a slice that starts at one and steps by 1."""
    if call.func.overloadpacket is not aten.slice:
        return True
    given = dict(zip(("start", "end", "step"), call.args[2:], strict=False))
    return (given.get("start") or 0) % size == 0 and given.get("step", 1) == 1


def cat(ledger: Ledger, call: Call) -> list[Labels]:
    """Labels along the dimension are laid end to end; along the others the parts meet."""
    parts: list[Tensor] = [part for part in call.args[0] if part.ndim == call.results[0].ndim]
    dim = (call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)) % parts[0].ndim
    along = [next((e for e in ledger.labels(p) if e.shape[dim] > 1), NOBODY) for p in parts]
    across = [e for p in parts for e in ledger.labels(p) if e.shape[dim] == 1]
    fixed = [p for p in parts if not ledger.labels(p)]
    varies = {dim, *(d for e in along for d, n in enumerate(e.shape) if n > 1)}
    sizes = [[n if d in varies else 1 for d, n in enumerate(p.shape)] for p in parts]
    laid = np.concatenate([np.broadcast_to(e, size) for e, size in zip(along, sizes, strict=True)], dim)
    return [something([*ledger.meet(across, fixed), laid])]


def stack(ledger: Ledger, call: Call) -> list[Labels]:
    """Tensors of equal shapes, one behind the other along a new dimension: their channels meet."""
    parts, given = call.args[0], call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
    dim = given % call.results[0].ndim
    labels = [np.expand_dims(each, dim) for part in parts for each in ledger.labels(part)]
    return [ledger.meet(labels, [part.unsqueeze(dim) for part in parts if not ledger.labels(part)])]


def as_strided(ledger: Ledger, call: Call) -> list[Labels]:
    """Other strides for the same shape, as pooling does to a channels-last result, move nothing."""
    x, size = call.args[:2]
    if list(size) != list(x.shape):
        ledger.freeze(ledger.labels(x), f"gets other strides from {call.name}")
        return [[]]
    return [ledger.labels(x)]


def pad(ledger: Ledger, call: Call) -> list[Labels]:
    """Padding in space changes nothing; new places among channels belong to nobody."""
    x, pad = call.args[0], call.args[1]
    padded = []
    for each in ledger.labels(x):
        varies = [each.shape[x.ndim - 1 - i // 2] > 1 for i in range(len(pad))]
        places = [n if v else 0 for n, v in zip(pad, varies, strict=True)]  # below 0 where it crops
        padded.append(F.pad(torch.from_numpy(each), places, value=NOTHING).numpy())
    return [padded]


def roll_flip(ledger: Ledger, call: Call) -> list[Labels]:
    """Roll or flip: in space channels go through, among channels they freeze."""
    x, dims = call.args[0], [d % call.args[0].ndim for d in call.args[-1]]
    over = [each for each in ledger.labels(x) if any(one_part(ledger, each, dims).shape[d] > 1 for d in dims)]
    ledger.freeze(over, f"changes places by {call.name}")
    return [ledger.labels(x)]


def pixel_shuffle(ledger: Ledger, call: Call) -> list[Labels]:
    """Pixel shuffle by r: r² neighbouring channels become one channel, so they live and die together."""
    x, factor = call.args
    channels = ledger.along(x, 1)
    if channels is None:
        return [[]]
    blocks = channels.reshape(-1, factor**2)
    ledger.tie(blocks[:, :1], blocks)
    return [something([lay(blocks[:, 0], 1, x.ndim)])]


def pixel_unshuffle(ledger: Ledger, call: Call) -> list[Labels]:
    """Pixel unshuffle by r: one channel becomes r² neighbouring ones."""
    return [_multiplied(ledger, call, call.args[1] ** 2)]


def im2col(ledger: Ledger, call: Call) -> list[Labels]:
    """Patches of a x b pixels laid out as channels: one channel becomes a·b neighbouring ones."""
    return [_multiplied(ledger, call, prod(call.args[1]))]


def _multiplied(ledger: Ledger, call: Call, times: int) -> Labels:
    channels = ledger.along(call.args[0], 1)
    return [] if channels is None else [lay(channels.repeat(times), 1, call.results[0].ndim)]


def channel_shuffle(ledger: Ledger, call: Call) -> list[Labels]:
    """Channel shuffle: the groups stay equal; place i of every group becomes neighbours."""
    x, groups = call.args
    channels = ledger.along(x, 1)
    if channels is None:
        return [[]]
    parts = channels.reshape(groups, -1)
    ledger.tie(parts[:1], parts)
    return [[lay(parts.T.reshape(-1), 1, x.ndim)]]


SIZED_SPLITS = [aten.split_with_sizes, aten.unsafe_split_with_sizes]
SPLITS = [aten.split, aten.unsafe_split, *SIZED_SPLITS]
VIEW_RULES: dict[Any, OpRule] = {
    **dict.fromkeys(
        [
            aten.view, aten._unsafe_view, aten.t, aten.transpose, aten.permute, aten.squeeze, aten.unsqueeze,
            aten.expand, aten.repeat, aten.clone, aten.alias, aten.detach,
        ],
        view,
    ),
    **dict.fromkeys([aten.slice, aten.select, aten.unbind, *SPLITS], split),
    aten.transpose_: transpose_in_place,
    aten.cat: cat,
    aten.stack: stack,
    **dict.fromkeys([aten.as_strided, aten.as_strided_], as_strided),
    aten.constant_pad_nd: pad,
    **dict.fromkeys([aten.roll, aten.flip], roll_flip),
    aten.pixel_shuffle: pixel_shuffle,
    aten.pixel_unshuffle: pixel_unshuffle,
    aten.im2col: im2col,
    aten.channel_shuffle: channel_shuffle,
}  # fmt: skip
