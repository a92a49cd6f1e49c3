"""The inputs of the self-check: random ones of the kind and range that the examples show."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

NUDGE = 1e-5  # of an input's largest value: more than rounding does, less than anything that is meant


def check_inputs(examples: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Two images, then one, for networks that take no more; last the examples themselves.

    Floating inputs are drawn from a normal distribution where the example is constant, else between its smallest and
    largest value, beside the example; whole numbers are within its range.
    """
    for images in (2, 1):
        generator = torch.Generator("cpu").manual_seed(0)
        yield [_drawn(example, images, generator) for example in examples]
    yield list(examples)


def nudged(inputs: Sequence[Tensor], seed: int) -> list[Tensor]:
    """The same inputs with floating values moved by a millionth part or so."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return [_nudged(x, generator) if x.is_floating_point() and x.numel() else x for x in inputs]


def _drawn(example: Tensor, images: int, generator: torch.Generator) -> Tensor:
    batched = example.ndim > 0 and len(example) == 1
    shape = (images, *example.shape[1:]) if batched else example.shape
    if not example.numel() or example.is_complex():
        return example.expand(shape)
    low, high = example.min().item(), example.max().item()
    if not example.is_floating_point():
        return torch.randint(int(low), int(high) + 1, shape, generator=generator, device="cpu").to(example)
    if low == high:
        return torch.randn(shape, generator=generator, device="cpu").to(example)
    drawn = (low + (high - low) * torch.rand(shape, generator=generator, device="cpu")).to(example)
    return torch.cat([example, drawn[1:]]) if batched and images > 1 else drawn


def _nudged(x: Tensor, generator: torch.Generator) -> Tensor:
    size = max(NUDGE, 2 * torch.finfo(x.dtype).eps) * float(x.abs().max())
    return x + size * torch.randn(x.shape, generator=generator, device="cpu").to(x)
