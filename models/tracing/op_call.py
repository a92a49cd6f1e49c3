"""One operation as torch ran it: the input of rules."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from .atoms import Labels
from .ledger import Ledger

aten = torch.ops.aten

MATRIX_PRODUCTS = frozenset({aten.mm, aten.addmm, aten.bmm, aten.baddbmm})
PRODUCTS = frozenset({aten.convolution, *MATRIX_PRODUCTS})  # operations that multiply and accumulate
AVERAGES = frozenset({aten.mean, aten.var, aten.std, aten.var_mean, aten.std_mean, aten.linalg_vector_norm, aten.norm})
SUMS = frozenset({aten.sum, aten.prod, aten.amax, aten.amin, aten.max, aten.min, aten.logsumexp})
WINDOWS = frozenset({aten.avg_pool2d, aten.avg_pool3d})  # over neighbouring channels: one result each
REDUCING = PRODUCTS | AVERAGES | SUMS | WINDOWS  # operations that may reduce over channels
BATCH_NORMS = frozenset({aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm})
REARRANGEMENTS = frozenset(  # a weight behind one of them is still that weight
    {aten.t, aten.transpose, aten.permute, aten.view, aten._unsafe_view, aten.expand, aten.detach, aten.alias}
)


class Call(NamedTuple):
    """One operation as it ran, with its arguments and results; ``tensors``: those among its arguments."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Any]
    tensors: list[Tensor]

    @classmethod
    def of(cls, func: Any, args: Any, kwargs: Any, output: Any) -> "Call":
        """The call that torch dispatches, with its output."""
        named = kwargs or {}
        results = list(output) if isinstance(output, (tuple, list)) else [output]
        return cls(func, args, named, results, tensors_among((*args, *named.values()) if named else args))

    @property
    def name(self) -> str:
        """Torch's name of the operation."""
        return _named(self.func.overloadpacket)


@cache
def _named(packet: Any) -> str:
    return str(packet)


def tensors_among(arguments: Sequence[Any]) -> list[Tensor]:
    """The arguments that are tensors, and those that lie in a list."""
    found: list[Tensor] = []
    for each in arguments:
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, (list, tuple)):
            found += [x for x in each if isinstance(x, Tensor)]
    return found


OpRule: TypeAlias = Callable[[Ledger, Call], list[Labels]]  # → the labels of each result
