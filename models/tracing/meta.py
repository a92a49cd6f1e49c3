"""Shapes of the usual operations, worked out directly: a trace of ResNet-56 takes 21 ms, by torch's own code 103 ms."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .op_call import aten, tensors_among

ALIKE = {
    aten.gelu, aten.hardsigmoid, aten.hardsigmoid_, aten.hardswish, aten.hardswish_, aten.mish, aten.mish_,
    aten.relu, aten.relu_, aten.sigmoid, aten.silu, aten.silu_,
}  # fmt: skip
NONE = torch.empty(0, device="meta")
ARITHMETIC = {aten.add, aten.add_, aten.sub, aten.sub_, aten.mul, aten.mul_, aten.div, aten.div_}


def meta_call(func: Any, args: Any, kwargs: Any) -> Any:
    """The result of ``func``; for the usual operations of a CNN it is made from its shape alone.

    On tensors without storage torch computes these in Python, up to a millisecond each: most of a pass.
    """
    operation = func.overloadpacket
    if isinstance(args[0] if args else None, Tensor) and args[0].is_meta:
        if operation in ALIKE:
            return args[0] if func._schema.is_mutable else empty_meta_like(args[0])
        if func is aten.native_batch_norm.default:
            statistics = (args[0].new_empty(args[0].shape[1]) if args[5] else NONE for _ in range(2))
            return empty_meta_like(args[0]), *statistics  # which only training returns
    shape = SHAPES.get(operation)
    if shape and not kwargs and _plain(args) and (found := shape(*args)) is not None:
        first = args[0][0] if operation is aten.cat else args[0]
        if not func._schema.is_mutable:
            made = torch.empty(found, dtype=first.dtype, device="meta")
            places = operation is aten.max_pool2d_with_indices
            return (made, torch.empty(found, dtype=torch.int64, device="meta")) if places else made
        if found == first.shape:
            return first
    return func(*args, **(kwargs or {}))


class MetaShapes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Runs every operation by ``meta_call``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return meta_call(func, args, kwargs)


def empty_meta_like(x: Tensor) -> Tensor:
    """A tensor of its shape, type and layout, without storage; ``empty_like`` takes five times as long."""
    if x.layout is not torch.strided:
        return torch.empty_like(x, device="meta")
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _plain(args: Any) -> bool:
    """Whether all tensors among the arguments are without storage, of one type of floats, in torch's usual layout."""
    tensors = tensors_among(args)
    alike = all(x.is_meta and x.dtype is tensors[0].dtype and x.is_contiguous() for x in tensors)
    return alike and tensors[0].is_floating_point()


def _convolved(
    x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, *rest: Any
) -> list[int] | None:
    """Of a plain convolution; it leaves errors to torch."""
    sizes = x.shape[2:]
    if transposed or x.ndim != weight.ndim or len(stride) != len(sizes) or x.shape[1] != weight.shape[1] * rest[-1]:
        return None
    size = _slid(sizes, weight.shape[2:], stride, padding, dilation)
    return [x.shape[0], weight.shape[0], *size] if min(size) > 0 else None


def _maximal(
    x: Tensor, kernel: Any, stride: Any, padding: Any = (0, 0), dilation: Any = (1, 1), ceil: bool = False
) -> list[int] | None:
    """Of max pooling in two dimensions; it leaves errors to torch, and sizes that are rounded up."""
    usual = x.ndim == 4 and all(len(each) == 2 for each in (kernel, stride, padding, dilation)) and not ceil
    if not usual or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    size = _slid(x.shape[2:], kernel, stride, padding, dilation)
    return [*x.shape[:2], *size] if min(size) > 0 else None


def _mean_pooled(x: Tensor, kernel: Any, stride: Any, padding: Any = (0, 0), ceil: bool = False, *_: Any) -> Any:
    """Of average pooling in two dimensions, likewise."""
    return _maximal(x, kernel, stride, padding, ceil=ceil)


def _slid(sizes: Sequence[int], *window: Sequence[int]) -> list[int]:
    """How often a window of kernel, stride, padding and dilation fits."""
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(sizes, *window, strict=True)]


def _joined(tensors: Any, dim: int = 0) -> list[int] | None:
    """Of a concatenation; it leaves errors to torch."""
    shape = list(tensors[0].shape)
    dim %= max(1, len(shape))
    rests = {(*x.shape[:dim], *x.shape[dim + 1 :]) for x in tensors}
    if len(rests) > 1 or not shape or any(x.ndim != len(shape) for x in tensors):
        return None
    shape[dim] = sum(x.shape[dim] for x in tensors)
    return shape


def _broadcast(a: Any, b: Any, *rest: Any) -> torch.Size | None:
    """Of arithmetic on tensors, or on a tensor and a number; it leaves errors to torch."""
    if not isinstance(a, Tensor) or isinstance(b, complex) or rest:
        return None
    if not isinstance(b, Tensor) or a.shape == b.shape:
        return a.shape
    pairs = zip(reversed(a.shape), reversed(b.shape), strict=False)
    fits = all(m == n or 1 in (m, n) for m, n in pairs)
    return torch.broadcast_shapes(a.shape, b.shape) if fits else None  # type: ignore[no-untyped-call]


def _averaged(x: Tensor, dims: Any = None, keep: bool = False) -> list[int] | None:
    """Of a mean over some dimensions."""
    if not dims or not x.ndim:
        return None
    over = {dim % x.ndim for dim in dims}
    return [1 if dim in over else n for dim, n in enumerate(x.shape) if keep or dim not in over]


SHAPES: dict[Any, Callable[..., Any]] = {aten.convolution: _convolved, aten.cat: _joined, aten.mean: _averaged}
SHAPES |= {aten.max_pool2d_with_indices: _maximal, aten.avg_pool2d: _mean_pooled}
SHAPES |= dict.fromkeys(ARITHMETIC, _broadcast)
