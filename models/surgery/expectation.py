"""Random operations at their expectation, so that a network answers alike whatever its widths."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..tracing.op_call import aten

SHARE = 0.5  # a draw from [0, 1), and from a normal distribution, in deviations above its mean


class Expectation(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Runs random operations without chance: dropout keeps everything, a draw is a constant.

    Seeds would not do: a narrowed layer draws fewer numbers, and so other ones.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **named)
        operation = func.overloadpacket
        if operation is aten.native_dropout:
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        output = func(*args, **named)
        if operation in (aten.bernoulli, aten.bernoulli_, aten.normal, aten.poisson):
            return _at(output, _mean(operation, args))
        for each in tree_leaves(output):
            _settle(each)
        return output


def _mean(operation: Any, args: Any) -> Any:
    """The expectation of a draw whose parameters are among its arguments; of a normal one half a deviation above."""
    if operation is aten.bernoulli_ or (operation is aten.bernoulli and len(args) > 1):
        return args[1] if len(args) > 1 else SHARE
    return args[0] + SHARE * (args[1] if len(args) > 1 else 1) if operation is aten.normal else args[0]


def _at(output: Tensor, value: Any) -> Tensor:
    return output.copy_(value) if isinstance(value, Tensor) else output.fill_(value)


def _settle(output: object) -> None:
    """A constant; an order becomes ascending."""
    if not isinstance(output, Tensor) or not output.numel():
        return
    if output.is_floating_point():
        output.fill_(SHARE)
    elif output.ndim == 1 and not output.is_complex() and len(output.unique()) == len(output) == int(output.max()) + 1:
        output.copy_(output.sort()[0])
    else:
        output.fill_(output.min())
