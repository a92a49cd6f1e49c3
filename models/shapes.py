"""Forward passes on tensors without storage, quickly."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .call import aten

ALIKE = {
    aten.gelu, aten.hardsigmoid, aten.hardsigmoid_, aten.hardswish, aten.hardswish_, aten.mish, aten.mish_,
    aten.relu, aten.silu, aten.silu_,
}  # fmt: skip


def shaped(func: Any, args: Any, kwargs: Any) -> Any:
    """What ``func`` returns; activations and batch norm are answered by their shape alone.

    On tensors without storage torch works these out in Python, milliseconds each: most of a pass.
    """
    if isinstance(args[0] if args else None, torch.Tensor) and args[0].is_meta:
        if func.overloadpacket in ALIKE:
            return args[0] if func._schema.is_mutable else torch.empty_like(args[0])
        if func is aten.native_batch_norm.default:
            channels = args[0].shape[1] if args[5] else 0  # only training returns its statistics
            return torch.empty_like(args[0]), args[0].new_empty(channels), args[0].new_empty(channels)
    return func(*args, **(kwargs or {}))


class Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Runs every operation by ``shaped``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return shaped(func, args, kwargs)
