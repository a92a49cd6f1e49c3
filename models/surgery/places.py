"""Where a subnetwork's channels lie: the places of each dimension that stay, and the atoms that go."""

from collections.abc import Mapping

import numpy as np

from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.atoms import BoolArray, IntArray
from ..tracing.groups import Member


def kept_places(net: Structure, subnetwork: Subnetwork) -> dict[str, dict[int, IntArray]]:
    """Tensor → dimension → the places that stay, ascending; one array where dimensions are alike.

    Groups may share a dimension (concatenation).
    """
    parts: dict[tuple[str, int], list[tuple[Member, BoolArray]]] = {}
    for group, channels in zip(net.groups, subnetwork.kept, strict=True):
        removed = np.ones(group.width, np.bool_)
        removed[list(channels)] = False
        for member in group.members:
            parts.setdefault((member.tensor, member.dim), []).append((member, removed))
    stays: dict[str, dict[int, IntArray]] = {}
    known: dict[tuple[int, ...], IntArray] = {}
    for (tensor, dim), found in parts.items():
        alike = tuple(id(member.places) for member, _ in found)  # a filter's and its batch norm's are one array
        if alike not in known:
            line = np.ones(net.shapes[tensor][dim], np.bool_)
            for member, removed in found:
                line[member.places[removed[member.channels]]] = False
            known[alike] = np.flatnonzero(line)
        stays.setdefault(tensor, {})[dim] = known[alike]
    return stays


def removed_atoms(net: Structure, places: Mapping[str, Mapping[int, IntArray]]) -> BoolArray:
    """The atoms that go, given the places that stay. Shape: → (atoms,)"""
    removed = np.zeros(net.trace.count, np.bool_)
    for tensor, dims in places.items():
        for dim, stays in dims.items():
            along = net.trace.tensors[tensor][dim]
            removed[along] = True
            removed[along[stays]] = False
    return removed
