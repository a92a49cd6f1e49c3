"""Random operations at their expectation, so that a network answers alike whatever its widths."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..tracing.op_call import aten

SHARE = 0.5  # a draw from [0, 1), and from a normal distribution, in deviations above its mean


class Expectation(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Runs random operations without chance: dropout keeps everything, a draw is its mean or near it.

    Seeds would not do: a narrowed layer draws fewer numbers, and so other ones.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return output
        operation = func.overloadpacket
        if operation is aten.native_dropout:
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        if operation is aten.randperm:
            return output.copy_(torch.arange(len(output), device=output.device))
        if operation in MEANS and (mean := MEANS[operation](*args)) is not None:
            return output.copy_(mean) if isinstance(mean, Tensor) else output.fill_(mean)
        for each in tree_leaves(output):
            _settle(each)
        return output


def _settle(output: object) -> None:
    """Fill what was drawn with a constant."""
    if isinstance(output, Tensor) and output.numel():
        output.fill_(SHARE if output.is_floating_point() else output.min())


def _bernoulli(x: Any, share: Any = None) -> Any:
    return x if share is None else share


def _normal(mean: Any = 0.0, deviation: Any = 1.0, *_: Any) -> Any:
    return mean + SHARE * deviation


MEANS: dict[Any, Any] = {
    aten.bernoulli: _bernoulli,
    aten.bernoulli_: lambda x, share=SHARE: share,
    aten.normal: _normal,
    aten.normal_: lambda x, mean=0.0, deviation=1.0: _normal(mean, deviation),
    aten.poisson: lambda x: x,
}
