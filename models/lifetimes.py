"""From which operation to which each tensor of a forward pass is needed."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from .atoms import Activation, Atoms


class Lifetimes:
    """Follows storages, so that views and in-place operations count once; those of the weights don't count."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._now = 0
        self._weights = {_key(tensor) for tensor in weights}
        self._seen: dict[int, tuple[Any, Activation]] = {}  # a storage is held, so that its key stays its own

    def step(self, atoms: Atoms, reads: Iterable[Tensor], makes: Iterable[Tensor]) -> None:
        """One operation: what it reads is still needed, what it makes is new (or written in place)."""
        for tensor in (*reads, *makes):
            key = _key(tensor)
            if key in self._seen:
                storage, known = self._seen[key]
                self._seen[key] = storage, replace(known, last=self._now)
            elif key not in self._weights:
                self._seen[key] = tensor.untyped_storage(), _born(atoms, tensor, self._now)
        self._now += 1

    def all(self) -> list[Activation]:
        """Every storage that was seen."""
        return [activation for _, activation in self._seen.values()]


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _born(atoms: Atoms, tensor: Tensor, now: int) -> Activation:
    """The bytes of the tensor's whole storage; of a view into a larger one nothing is known to shrink."""
    size = tensor.untyped_storage().nbytes()
    whole = size == tensor.numel() * tensor.itemsize
    lines = [each.flatten().numpy() for each in atoms.of(tensor) if each.numel() > 1] if whole else []
    return Activation(size // int(np.prod([len(line) for line in lines])), tuple(lines), now, now)
