"""Rules of operations that work in space: pooling, resampling, sorting, transforms. Channels go through."""

from math import prod
from typing import Any

import torch
from torch import Tensor

from .atoms import NOTHING, IntArray, Labels, lay, something
from .ledger import Ledger
from .norm_rules import reduce_over
from .op_call import Call, OpRule, aten
from .pointwise_rules import unknown


def pooling(ledger: Ledger, call: Call) -> list[Labels]:
    """Works on space alone: labels along batch and channels go through."""
    x, dims = call.args[0], next(n for n in (1, 2, 3) if f"{n}d" in call.name)
    kept: Labels = []
    for each in ledger.labels(x):
        if prod(each.shape[-dims:]) == 1:
            kept.append(each)
        elif (channels := _channels(ledger, each, each.ndim - dims - 1)) is not None:
            kept.append(channels)
        elif (neighbours := _among_neighbours(ledger, call, each, dims)) is not None:
            kept.append(neighbours)
        else:
            ledger.freeze([each], f"lies in space where {call.name} works")
    return [kept for _ in call.results]


def _channels(ledger: Ledger, each: IntArray, dim: int) -> IntArray | None:
    """Labels that a reshape laid out as channels, each a block of places."""
    line = ledger.line(each, dim) if each.shape[dim] > 1 else None
    return None if line is None else lay(line, dim, each.ndim)


def _among_neighbours(ledger: Ledger, call: Call, each: IntArray, dims: int) -> IntArray | None:
    """Average pooling over neighbouring channels, of which local response norm is made: one result a channel."""
    dim = each.ndim - dims
    sides = zip(call.args[1], call.args[2] or call.args[1], strict=True)
    if "avg_pool" not in call.name or each.size != each.shape[dim] or any(pair != (1, 1) for pair in list(sides)[1:]):
        return None
    atoms = each.reshape(-1)
    channels = atoms[atoms != NOTHING]
    if len(channels) != call.results[0].shape[dim] or (call.args[2] or [0])[0] != 1:
        return None
    reduce_over(ledger, call.args[0], dim, atoms)
    return lay(channels, dim, each.ndim)


def unpooling(ledger: Ledger, call: Call) -> list[Labels]:
    """Max unpooling: values go to the places of a pooling's maxima, channel by channel."""
    x, places = call.args[:2]
    dims = 2 if "2d" in call.name else 3
    labels = [each for value in (x, places) for each in ledger.labels(value)]
    ledger.freeze([e for e in labels if prod(e.shape[-dims:]) > 1], f"lies in space where {call.name} works")
    return [ledger.meet([e for e in labels if prod(e.shape[-dims:]) == 1], [])]


def sampling(ledger: Ledger, call: Call) -> list[Labels]:
    """Grid sampling: channels of the image go through; what says where to sample is a place in space."""
    image, grid = call.args[:2]
    space = [each for each in ledger.labels(image) if prod(each.shape[2:]) > 1]
    ledger.freeze([*space, *ledger.labels(grid)], f"lies in space where {call.name} works")
    return [[each for each in ledger.labels(image) if prod(each.shape[2:]) == 1]]


def ordering(ledger: Ledger, call: Call) -> list[Labels]:
    """Sort, top k, median, cumulative sums along a dimension: among places in space channels go through."""
    x: Tensor = call.args[0]
    dim = _ordered(call)
    if dim is None or any(each.shape[dim] > 1 for each in ledger.labels(x)):
        return unknown(ledger, call)
    labels = ledger.labels(x)
    if call.results[0].ndim < x.ndim:
        labels = [each.squeeze(dim) for each in labels]
    return [labels for _ in call.results]


def _ordered(call: Call) -> int | None:
    """The dimension that such an operation works along."""
    schema = [each.name for each in call.func._schema.arguments]
    if "dim" not in schema:
        return None
    at = schema.index("dim")
    dim = call.kwargs.get("dim", call.args[at] if len(call.args) > at else -1)
    ndim: int = call.args[0].ndim
    return int(dim) % ndim


def gathering(ledger: Ledger, call: Call) -> list[Labels]:
    """Values of places along a dimension that another tensor names: in space channels go through and meet."""
    x, dim, *more = call.args
    if not any(each.shape[dim] > 1 for value in (x, *more) for each in ledger.labels(value)):
        return [ledger.meet([each for value in (x, *more) for each in ledger.labels(value)], [])]
    return unknown(ledger, call)


def selecting(ledger: Ledger, call: Call) -> list[Labels]:
    """Places along a dimension that a vector of numbers names: in space channels go through."""
    x, dim, places = call.args
    if (ordered := _in_order(ledger, x, dim % x.ndim, places)) is not None:
        return [ordered]
    if any(each.shape[dim] > 1 for each in ledger.labels(x)):
        return unknown(ledger, call)
    return [ledger.labels(x)]


def indexing(ledger: Ledger, call: Call) -> list[Labels]:
    """Places along some dimensions that tensors of numbers name: in space channels go through."""
    x, at = call.args
    named = [d for d, each in enumerate(at) if each is not None]
    labels = ledger.labels(x)
    if len(named) == 1 and (ordered := _in_order(ledger, x, named[0], at[named[0]])) is not None:
        return [ordered]
    if any(each.shape[d] > 1 for each in labels for d in named) or any(at[d].dtype is torch.bool for d in named):
        return unknown(ledger, call)
    width = max(at[d].ndim for d in named)
    first = named[0] if named == list(range(named[0], named[-1] + 1)) else 0  # where their dimensions go
    return [[_indexed(each, named, first, width) for each in labels]]


def _in_order(ledger: Ledger, x: Tensor, dim: int, places: Tensor) -> Labels | None:
    """The labels where channels are taken in the order that a buffer says, whose numbers go with them; else None."""
    numbers, labels = ledger.numbers(places), ledger.labels(x)
    along = [each for each in labels if each.shape[dim] > 1]
    if numbers is None or not along or any(each.size != each.shape[dim] for each in along):
        return None
    taken = [each.take(numbers, dim) for each in along]
    for each, after in zip(along, taken, strict=True):
        ledger.point(places, each.reshape(-1))
        ledger.tie(ledger.labels(places)[0], after.reshape(-1))
    return [*(each for each in labels if each.shape[dim] == 1), *taken]


def _indexed(each: IntArray, named: list[int], first: int, width: int) -> IntArray:
    """Labels without the named dimensions, and with ``width`` others of size 1 before the dimension ``first``."""
    shape = [n for d, n in enumerate(each.shape) if d not in named]
    return each.reshape([*shape[:first], *[1] * width, *shape[first:]])


def transform(ledger: Ledger, call: Call) -> list[Labels]:
    """Fourier transform along dimensions: in space channels go through."""
    labels, dims = ledger.labels(call.args[0]), call.args[1]
    over = [each for each in labels if any(each.shape[d] > 1 for d in dims)]
    ledger.freeze(over, f"is mixed by {call.name}")
    return [[each for each in labels if all(each.shape[d] == 1 for d in dims)]]


def as_complex(ledger: Ledger, call: Call) -> list[Labels]:
    """Pairs of numbers along the last dimension as complex numbers."""
    labels = ledger.labels(call.args[0])
    ledger.freeze([each for each in labels if each.shape[-1] > 1], f"is a part of a number in {call.name}")
    kept = [each.squeeze(-1) for each in labels if each.shape[-1] == 1]
    ledger.alias(call.args[0], call.results[0])
    return [something(kept)]


def as_real(ledger: Ledger, call: Call) -> list[Labels]:
    """Complex numbers as pairs along a new last dimension."""
    return [[each[..., None] for each in ledger.labels(call.args[0])]]


SPACE_RULES: dict[Any, OpRule] = {
    **dict.fromkeys(
        [
            aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.avg_pool2d, aten.avg_pool3d,
            aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d,
            aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d, aten.upsample_linear1d,
            aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d,
            aten.upsample_bilinear2d, aten._upsample_bilinear2d_aa, aten.upsample_bicubic2d,
            aten._upsample_bicubic2d_aa, aten.upsample_trilinear3d, aten.reflection_pad1d, aten.reflection_pad2d,
            aten.reflection_pad3d, aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d,
        ],
        pooling,
    ),
    **dict.fromkeys([aten.max_unpool2d, aten.max_unpool3d], unpooling),
    **dict.fromkeys([aten.grid_sampler_2d, aten.grid_sampler_3d], sampling),
    **dict.fromkeys(
        [
            aten.sort, aten.topk, aten.kthvalue, aten.median, aten.nanmedian, aten.mode, aten.cumsum, aten.cumprod,
            aten.cummax, aten.cummin, aten.logcumsumexp,
        ],
        ordering,
    ),
    aten.gather: gathering,
    aten.index: indexing,
    aten.index_select: selecting,
    **dict.fromkeys([aten._fft_r2c, aten._fft_c2r, aten._fft_c2c], transform),
    aten.view_as_complex: as_complex,
    aten.view_as_real: as_real,
}  # fmt: skip
