"""Buffers whose numbers are places of channels, by which forward takes them in another order."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ..structure import Structure
from ..tracing.atoms import IntArray
from .places import removed_atoms


def places_pointed_to(net: Structure, kept: Mapping[str, Mapping[int, IntArray]]) -> Iterator[tuple[str, IntArray]]:
    """Each such buffer, and which of the places that its numbers stand for stay; ``kept``: see ``kept_places``."""
    if net.trace.pointers:
        removed = removed_atoms(net, kept)
        for name, line in net.trace.pointers.items():
            yield name, np.flatnonzero(~removed[line])


def renumbered(numbers: Tensor, before: IntArray, after: IntArray) -> Tensor:
    """Places among those that stayed ``before`` as places among those of them that stay ``after``.

    >>> renumbered(torch.tensor([4, 0, 2]), np.arange(5), np.array([0, 2, 4])).tolist()
    [2, 0, 1]
    """
    table = torch.from_numpy(np.searchsorted(after, before))
    return table.to(numbers.device)[numbers.long()].to(numbers.dtype)
