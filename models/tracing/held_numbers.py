"""Whole numbers that the user's own modules hold in attributes, which may be widths: ``self.channels``."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from torch import nn

# Words in the names of numbers that are no widths, though they may equal one.
OTHERS = (
    "kernel", "stride", "pad", "dilat", "head", "depth", "layer", "block", "stage", "level", "ratio", "reduc", "expan",
    "scale", "factor", "rate", "class", "window", "patch", "image", "img", "pool", "grid", "radix", "cardinal", "step",
    "index", "indices", "idx", "node", "save", "order",
)  # fmt: skip
WHOLE_NAMES = {"i", "f", "n"}  # the same, of names as short as that: YOLO's places in the list of layers


class HeldNumbers:
    """The numbers that may be widths in the attributes of all modules of a network; looked up on first use."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def have(self, sizes: Sequence[int]) -> bool:
        """Whether one list, or one attribute for each, holds these numbers."""
        return tuple(sizes) in self._all or all(size in self._all for size in sizes)

    @cached_property
    def _all(self) -> set[Any]:
        """Numbers, and lists as tuples."""
        found = (value for module in self._model.modules() for _, value in held_numbers(module))
        return {tuple(value) if isinstance(value, list) else value for value in found}


NOTHING_HELD = HeldNumbers(nn.Module())


def held_numbers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The attributes that may hold widths, by name: whole numbers, and lists or tuples of some; none of torch's own."""
    if type(module).__module__.startswith("torch."):
        return
    of_torch = {name for base in type(module).__mro__ if base.__module__.startswith("torch.") for name in _named(base)}
    for name, value in vars(module).items():
        numbers = value if type(value) in (list, tuple) else [value]
        other = name.startswith("_") or name in of_torch | WHOLE_NAMES or any(word in name for word in OTHERS)
        if not other and numbers and all(type(number) is int for number in numbers):
            yield name, value


def _named(base: type) -> tuple[str, ...]:
    """The attributes that torch itself gives a layer."""
    return tuple(getattr(base, "__constants__", ()))
