"""Where a forward pass reads its weights: the calls that sum over channels, and what they sum."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from .op_call import aten

NORMS = (aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm)


@dataclass(frozen=True, eq=False)
class Reading:
    """One call in which a weight sums over channels: output row = weight matrix x row of ``windows`` + bias.

    The matrix is the weight with its dimensions in this ``order`` (made, kernel..., read), all but the first
    flattened: the channels under one place of the kernel lie side by side. ``bias`` names a parameter.

    Shape: windows (N, space..., channels of all groups, kernel...), a view; N and space are ``ndim`` dimensions
    """

    name: str
    order: tuple[int, ...]
    groups: int
    windows: Tensor
    ndim: int
    bias: str | None

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
        """The input there, in float32 at least. Shape: positions (n,) → (groups, n, columns)"""
        at = torch.unravel_index(positions, self.windows.shape[: self.ndim])
        kernel = self.windows.shape[self.ndim + 1 :]
        picked = self.windows[at].reshape(len(positions), self.groups, self.read, *kernel).movedim(2, -1)
        return wide(picked.flatten(2).transpose(0, 1))


class Readings(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Hears every call of a model that reads a parameter: a convolution, a linear layer, a product with a matrix.

    A parameter is known by its identity, whatever calls it. Not heard: transposed convolutions, weights that
    forward computes, matrices on the left of a product or in a batch of products.

    ``before`` hears of a call before it runs, ``after`` gets its output, too. ``normed``: the weights whose output
    goes into batch norm.
    """

    def __init__(
        self,
        model: nn.Module,
        before: Callable[[Reading], None] | None = None,
        after: Callable[[Reading, Tensor], None] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.turned: MutableMapping[Tensor, str] = WeakIdKeyDictionary()  # transposed weights
        self.makers: MutableMapping[Tensor, str] = WeakIdKeyDictionary()  # outputs → the weight that made them
        self.normed: set[str] = set()
        self.before, self.after = before, after

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation = func.overloadpacket
        reading = self._reading(operation, args)
        if reading is not None and self.before:
            self.before(reading)
        output = func(*args, **(kwargs or {}))
        if reading is not None:
            self.makers[output] = reading.name
            if self.after:
                self.after(reading, output)
        elif operation in NORMS and args[0] in self.makers:
            self.normed.add(self.makers[args[0]])
        elif operation in (aten.t, aten.transpose) and id(args[0]) in self.names and args[0].ndim == 2:
            self.turned[output] = self.names[id(args[0])]
        return output

    def _reading(self, operation: Any, args: Any) -> Reading | None:
        if operation is aten.convolution and id(args[1]) in self.names and not args[6]:
            x, weight, bias, stride, padding, dilation, _, _, groups = args
            order = (0, *range(2, weight.ndim), 1)
            windows = _windows(x, weight.shape[2:], stride, padding, dilation)
            return Reading(self.names[id(weight)], order, groups, windows, x.ndim - 1, self.names.get(id(bias)))
        if operation in (aten.mm, aten.addmm):
            *bias, x, matrix = args
            named = self.names.get(id(bias[0])) if bias else None
            if matrix in self.turned:
                return Reading(self.turned[matrix], (0, 1), 1, x, 1, named)
            if id(matrix) in self.names:
                return Reading(self.names[id(matrix)], (1, 0), 1, x, 1, named)
        return None


def as_matrix(weight: Tensor, order: tuple[int, ...], groups: int) -> Tensor:
    """A weight as matrices, one a group of its convolution. Shape: → (groups, made, columns)"""
    return weight.permute(order).reshape(groups, weight.shape[order[0]] // groups, -1)


def write(weight: Tensor, order: tuple[int, ...], matrix: Tensor) -> None:
    """Put matrices into a weight, in place: what ``as_matrix`` made of it."""
    shape = [weight.shape[dim] for dim in order]
    weight.copy_(matrix.reshape(shape).permute([order.index(dim) for dim in range(weight.ndim)]))


def at_rows(output: Tensor, positions: Tensor) -> Tensor:
    """These rows of a reading's output, in float32 at least.

    Shape: output (N, made, space...), positions (n,) → (n, made)
    """
    last = output.movedim(1, -1)
    return wide(last[torch.unravel_index(positions, last.shape[:-1])])


def wide(x: Tensor) -> Tensor:
    """Half precision as float32; sums of squares need it."""
    return x if x.dtype == torch.float64 else x.float()


def _windows(x: Tensor, kernel: torch.Size, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    """What a convolution multiplies its kernel with. Shape: (N, C, size...) → (N, space..., C, kernel...), a view"""
    stride, padding, dilation = (each * len(kernel) if len(each) == 1 else each for each in (stride, padding, dilation))
    if any(padding):
        x = F.pad(x, [p for each in reversed(padding) for p in (each, each)])
    space = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    along = x.stride()
    steps = [a * s for a, s in zip(along[2:], stride, strict=True)]
    taps = [a * d for a, d in zip(along[2:], dilation, strict=True)]
    return x.as_strided((len(x), *space, x.shape[1], *kernel), (along[0], *steps, along[1], *taps))
