"""What two runs of a network show of each other: their outputs, or what the layers before them make.

Not every output can be compared. Detectors leave out boxes below a threshold or beside better ones: rounding changes
how many there are. Such outputs are known by that a nudge of the input changes them too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..tracing.rules import is_product

TOLERANCE = 1e-3  # of the largest output; float32 sums in another order


class Observed(NamedTuple):
    """The tensors that a network returned, and those that its layers made on the way."""

    outputs: list[Tensor]
    products: list[Tensor]


class ProductRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Keeps the output of each convolution and matrix product."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if is_product(func):
            self.products.append(output)
        return output


def agree(made: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether outputs are alike, and there is something in them to compare."""
    if len(made) != len(expected) or any(a.shape != b.shape for a, b in zip(made, expected, strict=True)):
        return False
    return any(map(_shows, expected)) and not any(map(differ, made, expected))


def differ(made: Tensor, expected: Tensor) -> bool:
    """Whether two tensors of one shape differ by more than rounding; what is empty or not finite proves nothing."""
    if not _shows(expected):
        return False
    precision = torch.finfo(expected.dtype).eps if expected.is_floating_point() else 0.0
    tolerance, one, other = max(TOLERANCE, 16 * precision), _wide(made), _wide(expected)
    return not float((one - other).abs().max()) <= tolerance * float(other.abs().max())


def contradicts(made: Observed, expected: Observed, others: Sequence[Observed]) -> bool:
    """Whether anything differs that does not differ among ``others``, the expected runs on nudged inputs.

    Outputs count; where none of them can be compared, products of one shape do.
    """
    counts = {len(each.outputs) for each in (expected, *others)}
    if counts == {len(expected.outputs)} != {len(made.outputs)}:
        return True
    steady = _steady(expected.outputs, [each.outputs for each in others])
    if any(_shows(expected.outputs[at]) for at in steady):
        return any(_unlike(made.outputs[at], expected.outputs[at]) for at in steady if at < len(made.outputs))
    steady = _steady(expected.products, [each.products for each in others])
    pairs = [(made.products[at], expected.products[at]) for at in steady if at < len(made.products)]
    return any(differ(one, other) for one, other in pairs if one.shape == other.shape)


def _steady(expected: Sequence[Tensor], others: Sequence[Sequence[Tensor]]) -> list[int]:
    """The places at which all runs made the same."""
    same = range(min(map(len, (expected, *others))))
    return [at for at in same if not any(_unlike(other[at], expected[at]) for other in others)]


def _unlike(made: Tensor, expected: Tensor) -> bool:
    return made.shape != expected.shape or differ(made, expected)


def _shows(x: Tensor) -> bool:
    """Whether a tensor holds anything to compare."""
    return x.numel() > 0 and bool(x.isfinite().all())


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.complex128 if x.is_complex() else torch.float64)
