"""Where a forward pass reads its weights: the calls that sum over channels, and their inputs."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from .op_call import BATCH_NORMS, MATRIX_PRODUCTS, REARRANGEMENTS, Call, aten


class Kernel(NamedTuple):
    """The geometry of a convolution, a number for each dimension of space (or one for all of them)."""

    size: torch.Size
    stride: list[int]
    padding: list[int]
    dilation: list[int]

    def windows(self, x: Tensor) -> Tensor:
        """The inputs under each place of the kernel. Shape: (N, C, size...) → (N, space..., C, kernel...), a view"""
        ndim = len(self.size)
        stride, padding, dilation = (each * ndim if len(each) == 1 else each for each in self[1:])
        if any(padding):
            x = F.pad(x, [p for each in reversed(padding) for p in (each, each)])
        sizes = zip(x.shape[2:], self.size, stride, dilation, strict=True)
        space = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes]
        along = x.stride()
        steps = [a * s for a, s in zip(along[2:], stride, strict=True)]
        taps = [a * d for a, d in zip(along[2:], dilation, strict=True)]
        return x.as_strided((len(x), *space, x.shape[1], *self.size), (along[0], *steps, along[1], *taps))


@dataclass(frozen=True, eq=False)
class WeightRead:
    """One call in which the weight ``name`` sums over the channels of ``inputs``.

    Shape: inputs (N, channels, space...) of a convolution, (..., rows, channels) of a matrix product
    """

    name: str
    inputs: Tensor
    convolves: bool

    def by_image(self, images: int) -> Tensor:
        """The inputs image by image; rows of a matrix product are places of an image.

        Shape: → (images, channels, places...); (rows, channels, 1) where ``images`` don't divide the rows
        """
        if self.convolves:
            return self.inputs
        rows = self.inputs.flatten(0, -2)
        return rows.reshape(images if len(rows) % images == 0 else len(rows), -1, rows.shape[1]).mT


@dataclass(frozen=True, eq=False)
class MatrixRead(WeightRead):
    """A read in which output row = weight matrix x row of ``windows`` + bias.

    The matrix is the weight with its dimensions in this ``order`` (made, kernel..., read), all but the first
    flattened: the channels under one place of the kernel lie side by side. ``bias`` names a parameter;
    ``kernel`` is None for a matrix product.
    """

    order: tuple[int, ...]
    groups: int
    bias: str | None
    kernel: Kernel | None = None

    @cached_property
    def windows(self) -> Tensor:
        """The rows, a view. Shape: → (N, space..., channels of all groups, kernel...)"""
        return self.kernel.windows(self.inputs) if self.kernel else self.inputs

    @property
    def ndim(self) -> int:
        """How many dimensions of ``windows`` count rows: N and space."""
        return self.inputs.ndim - 1

    @property
    def count(self) -> int:
        """How many rows there are."""
        return prod(self.windows.shape[: self.ndim])

    @property
    def read(self) -> int:
        """How many channels each group reads."""
        return self.windows.shape[self.ndim] // self.groups

    @property
    def columns(self) -> int:
        """How many columns the weight's matrix has."""
        return prod(self.windows.shape[self.ndim :]) // self.groups

    def rows(self, positions: Tensor) -> Tensor:
        """The input at these positions, in float32 at least. Shape: positions (n,) → (groups, n, columns)"""
        at = torch.unravel_index(positions, self.windows.shape[: self.ndim])
        kernel = self.windows.shape[self.ndim + 1 :]
        picked = self.windows[at].reshape(len(positions), self.groups, self.read, *kernel).movedim(2, -1)
        return wide(picked.flatten(2).transpose(0, 1))


class BatchNorm(NamedTuple):
    """A batch norm as it was called. Shape: (channels,) each; epsilon a number"""

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor | None
    variance: Tensor | None
    epsilon: float


Before: TypeAlias = Callable[[WeightRead], None]
After: TypeAlias = Callable[[WeightRead, Tensor], None]


class WeightReadRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Reports every call that sums over the channels of a named weight, in modules and in functional calls alike.

    A weight is known by its identity, or as a rearrangement (transpose, view, ...) of it. A read is a ``MatrixRead``
    where the weight is a plain convolution's, or a matrix on the right of a product as it is or transposed;
    a ``WeightRead`` for transposed convolutions, matrices on the left, in a batch or rearranged otherwise. Weights
    that forward computes are not reported.

    ``before`` gets each read before it runs, ``after`` each read with its output, ``each`` every operation when it
    has run. ``makers``: output of a matrix read, or of the batch norm behind it → the weight; ``norms``: weight →
    the batch norm that its output goes into.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        before: Before | None = None,
        after: After | None = None,
        each: Callable[[Call], None] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = {id(weight): name for name, weight in weights.items()}
        self.makers: MutableMapping[Tensor, str] = WeakIdKeyDictionary()
        self.norms: dict[str, BatchNorm] = {}
        self._moved: MutableMapping[Tensor, tuple[str, bool]] = WeakIdKeyDictionary()  # name, and if just transposed
        self._before, self._after, self._each = before, after, each

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation = func.overloadpacket
        read = self._read_by(operation, args)
        if read and self._before:
            self._before(read)
        output = func(*args, **(kwargs or {}))
        if isinstance(read, MatrixRead):
            self.makers[output] = read.name
        if read and self._after:
            self._after(read, output)
        elif operation in BATCH_NORMS:
            self._norm(output[0], args)
        elif operation in REARRANGEMENTS:
            self._move(operation, args[0], output)
        if self._each:
            self._each(Call.of(func, args, kwargs, output))
        return output

    def _read_by(self, operation: Any, args: Any) -> WeightRead | None:
        if operation is aten.convolution:
            return self._convolution(*args)
        if operation in MATRIX_PRODUCTS:
            return self._product(operation in (aten.mm, aten.addmm), *args)
        return None

    def _convolution(self, x: Tensor, weight: Tensor, bias: Any, *options: Any) -> WeightRead | None:
        stride, padding, dilation, transposed, _, groups = options
        name = self.names.get(id(weight))
        if name is None or transposed:
            return WeightRead(name, x, True) if name else None
        order = (0, *range(2, weight.ndim), 1)
        kernel = Kernel(weight.shape[2:], stride, padding, dilation)
        return MatrixRead(name, x, True, order, groups, self.names.get(id(bias)), kernel)

    def _product(self, plain: bool, *args: Tensor) -> WeightRead | None:
        """``plain``: a product of two matrices, not of batches of them."""
        *bias, left, right = args
        name, order = self._matrix(right)
        if name and order and plain:
            return MatrixRead(name, left, False, order, 1, self.names.get(id(bias[0])) if bias else None)
        if name:
            return WeightRead(name, left, False)
        name, _ = self._matrix(left)
        return WeightRead(name, right.mT, False) if name else None

    def _matrix(self, x: Tensor) -> tuple[str | None, tuple[int, ...] | None]:
        """The weight that a factor is, and the order that its dimensions are read in, if it is one."""
        if id(x) in self.names:
            return self.names[id(x)], (1, 0)
        name, transposed = self._moved.get(x, (None, False))
        return name, (0, 1) if transposed else None

    def _norm(self, output: Tensor, args: Any) -> None:
        if args[0] in self.makers:
            name = self.makers[output] = self.makers[args[0]]
            self.norms[name] = BatchNorm(args[1], args[2], args[3], args[4], args[7])

    def _move(self, operation: Any, x: Tensor, moved: Tensor) -> None:
        if id(x) in self.names:
            self._moved[moved] = self.names[id(x)], operation in (aten.t, aten.transpose) and x.ndim == 2
        elif x in self._moved:
            self._moved[moved] = self._moved[x][0], False


def as_matrix(weight: Tensor, order: tuple[int, ...], groups: int) -> Tensor:
    """A weight as matrices, one a group of its convolution. Shape: → (groups, made, columns)"""
    return weight.permute(order).reshape(groups, weight.shape[order[0]] // groups, -1)


def write_matrix(weight: Tensor, order: tuple[int, ...], matrix: Tensor) -> None:
    """Copy matrices into a weight, in place: the inverse of ``as_matrix``."""
    shape = [weight.shape[dim] for dim in order]
    weight.copy_(matrix.reshape(shape).permute([order.index(dim) for dim in range(weight.ndim)]))


def at_rows(output: Tensor, positions: Tensor) -> Tensor:
    """These rows of a read's output, in float32 at least.

    Shape: output (N, made, space...), positions (n,) → (n, made)
    """
    last = output.movedim(1, -1)
    return wide(last[torch.unravel_index(positions, last.shape[:-1])])


def wide(x: Tensor) -> Tensor:
    """Half precision as float32; sums of squares need it."""
    return x if x.dtype == torch.float64 else x.float()
