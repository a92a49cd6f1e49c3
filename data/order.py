"""The order in which a split shows its samples: shuffled, in batches, each in parts."""

import torch
from torch import Tensor

from ..seeds import derive_generator


def whole_batches(count: int, size: int) -> int:
    """Batches of ``size`` in an epoch of ``count`` samples; an incomplete one is dropped unless it is the only one."""
    return max(1, count // size)


def shuffled(count: int, seed: int) -> Tensor:
    """The numbers from 0 in an order drawn from the seed. Shape: → (count,) int64"""
    return torch.randperm(count, generator=derive_generator(seed, 0))


def split_into(order: Tensor, size: int) -> list[Tensor]:
    """An order in parts of ``size``, the last as long as what is left. Shape: order (N,)"""
    return [order[i : i + size] for i in range(0, len(order), size)]


def take_part(whole: Tensor, part: tuple[int, int]) -> Tensor:
    """The part of this (number, of how many), as equal as can be."""
    number, parts = part
    return whole.tensor_split(parts)[number]
