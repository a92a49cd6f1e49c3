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
BATCH_NORMS = frozenset({aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm})
AVERAGES = frozenset({aten.mean, aten.var, aten.std, aten.var_mean, aten.std_mean, aten.linalg_vector_norm, aten.norm})
INNER_PRODUCTS = frozenset({aten.mv, aten.dot, aten.vdot})
SUMS = frozenset({aten.sum, aten.prod, aten.amax, aten.amin, aten.max, aten.min, aten.logsumexp})
WINDOWS = frozenset({aten.avg_pool2d, aten.avg_pool3d})  # over neighbouring channels: one result each
FACTORED = PRODUCTS | INNER_PRODUCTS  # operations that multiply what they sum
FAKE_QUANTISATION = frozenset(
    {
        aten._fused_moving_avg_obs_fq_helper,
        aten.fake_quantize_per_channel_affine_cachemask,
        aten.fake_quantize_per_tensor_affine_cachemask,
        aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams,
        aten._fake_quantize_learnable_per_tensor_affine,
        aten._fake_quantize_learnable_per_channel_affine,
    }
)
IN_PLACE = WINDOWS | BATCH_NORMS | FAKE_QUANTISATION | {aten._weight_norm_interface}  # one result a channel
REDUCING = FACTORED | AVERAGES | SUMS | IN_PLACE  # operations that may reduce over channels
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


def counted_as(packet: Any) -> str:
    """The name that a pass counts an operation by; which matrix product torch takes depends on strides."""
    return "a matrix product" if packet in MATRIX_PRODUCTS else _named(packet)


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
