"""From which operation to which each tensor of a forward pass is needed."""

from collections.abc import Collection, Iterable
from math import prod
from typing import Any

from torch import Tensor

from .atoms import Activation, IntArray
from .ledger import Ledger


class Lifetimes:
    """Follows storages, so that views and in-place operations count once; those of the weights don't count."""

    def __init__(self, weights: Collection[Tensor]) -> None:
        self._now = 0
        self._weights = set(map(id, weights))
        self._last = {tensor.untyped_storage()._cdata: 0 for tensor in weights}  # for views of them
        self._born: dict[int, tuple[Any, int, int, tuple[IntArray, ...]]] = {}  # held, so that its key stays its own

    def step(self, ledger: Ledger, reads: Iterable[Tensor], makes: Iterable[Tensor]) -> None:
        """One operation: its inputs are still needed, its results are new (or written in place)."""
        for tensor in (*reads, *makes):
            if id(tensor) in self._weights:
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in self._last:
                self._born[storage._cdata] = storage, self._now, *_sized(ledger, tensor)
            self._last[storage._cdata] = self._now
        self._now += 1

    def all(self) -> list[Activation]:
        """Every storage that was seen."""
        return [Activation(scale, lines, born, self._last[key]) for key, (_, born, scale, lines) in self._born.items()]


def _sized(ledger: Ledger, tensor: Tensor) -> tuple[int, tuple[IntArray, ...]]:
    """The bytes of the tensor's whole storage; of a view into a larger one nothing is known to shrink."""
    size = tensor.untyped_storage().nbytes()
    whole = size == tensor.numel() * tensor.itemsize
    lines = [each.reshape(-1) for each in ledger.labels(tensor) if each.size > 1] if whole else []
    return size // prod(map(len, lines)), tuple(lines)
