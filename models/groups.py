"""Channel groups: channels of several layers that live or die together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .atoms import NOTHING, Atoms, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Member:
    """One dimension of one tensor that a group narrows.

    ``reads``: the tensor is a weight that sums over this dimension (it consumes the channels); otherwise the
    dimension is made with the channels (filters, biases, batch norm). The index map: channel
    ``channels[i]`` of the group lies at ``places[i]`` of the dimension. A channel may fill several places
    (flatten, grouped convolution) or none (padding that only some channels meet).

    Shape: channels (n,), places (n,)
    """

    tensor: str
    dim: int
    reads: bool
    channels: IntArray
    places: IntArray

    def where(self, channels: IntArray) -> IntArray:
        """The places of these channels in the dimension, ascending."""
        return np.sort(self.places[np.isin(self.channels, channels)])

    def per_channel(self, values: FloatArray, width: int) -> FloatArray:
        """Values of the dimension's places, summed for each channel. Shape: values (size,) → (width,)"""
        total: FloatArray = np.bincount(self.channels, values[self.places], width).astype(np.float64)
        return total


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """``width`` channels that can be removed one by one; ``frozen`` says why they can't, if they can't."""

    name: str
    width: int
    members: tuple[Member, ...]
    frozen: str | None = None


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups of a network, and to which of them each atom belongs (-1: to none that can be pruned)."""

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[ChannelGroup, ...]
    group_of: IntArray  # (atoms,)


def grouping(atoms: Atoms) -> Grouping:
    """Sort the channels of a trace into groups.

    Ties make channels out of atoms (connected components). Channels that lie in exactly the same dimensions
    of the same tensors form one group: removing any of them changes the same shapes by the same amounts. In
    an option-A ResNet the 16 channels of the first stage that run on into the later ones are thus one
    group, the 16 that the second stage adds another. A channel can be pruned where some layer makes it,
    some weight reads it, and nothing froze it.
    """
    channel = connected(atoms.count, atoms.ties)
    made, read = _all(atoms.made), _all(atoms.read)
    alive = np.setdiff1d(channel[made], channel[[NOTHING]])
    reasons: dict[int, str] = dict.fromkeys(np.setdiff1d(alive, channel[read]).tolist(), "is read by no layer")
    for labels, why in reversed(atoms.frozen):  # the first reason met counts
        reasons.update(dict.fromkeys(channel[labels].tolist(), why))
    consumed = set(read.tolist())
    groups: list[ChannelGroup] = []
    group_of = np.full(atoms.count, -1, np.int64)
    for lies in _alike(atoms, channel, alive, reasons):
        members = _members(atoms, lies, consumed)
        maker = next((m.tensor for m in members if not m.reads), members[0].tensor)
        name = _unique(maker.rpartition(".")[0] or maker, groups)
        groups.append(ChannelGroup(name, len(lies), members, reasons.get(int(lies[0][0]))))
    prunable = tuple(group for group in groups if group.frozen is None)
    for g, group in enumerate(prunable):
        for member in group.members:
            group_of[atoms.tensors[member.tensor][member.dim][member.places]] = g
    return Grouping(prunable, tuple(group for group in groups if group.frozen is not None), group_of)


def connected(count: int, ties: Sequence[tuple[IntArray, IntArray]]) -> IntArray:
    """The smallest atom of every atom's connected component. Shape: → (count,)"""
    parent = np.arange(count)
    if not ties:
        return parent
    a, b = (np.concatenate(side) for side in zip(*ties, strict=True))
    while True:
        low = np.minimum(parent[a], parent[b])
        np.minimum.at(parent, parent[a], low)
        np.minimum.at(parent, parent[b], low)
        while (parent[parent] != parent).any():
            parent = parent[parent]
        if (parent[a] == parent[b]).all():
            return parent


def _all(parts: Sequence[IntArray]) -> IntArray:
    return np.unique(np.concatenate([*parts, np.zeros(0, np.int64)]))


Lies: TypeAlias = tuple[int, list[tuple[str, int, int]]]  # a channel and its (tensor, dimension, place)s


def _alike(atoms: Atoms, channel: IntArray, alive: IntArray, reasons: dict[int, str]) -> list[list[Lies]]:
    """Channels that lie in the same dimensions and share their fate, together, in order of the network.

    Buffers that no product reads (the zeros of a padding shortcut) don't tell channels apart: their sizes
    enter no cost.
    """
    lies: dict[int, list[tuple[str, int, int]]] = {each: [] for each in alive.tolist()}
    for tensor, along in atoms.tensors.items():
        for dim, labels in enumerate(along):
            for place, each in enumerate(channel[labels].tolist()):
                if each in lies:
                    lies[each].append((tensor, dim, place))
    counted = atoms.parameters | {product.tensor for product in atoms.products}
    alike: dict[object, list[Lies]] = {}
    for each, places in lies.items():
        signature = tuple((tensor, dim) for tensor, dim, _ in places if tensor in counted)
        alike.setdefault((signature, reasons.get(each)), []).append((each, places))
    return list(alike.values())


def _members(atoms: Atoms, lies: list[Lies], consumed: set[int]) -> tuple[Member, ...]:
    """The index maps of one group, by dimension."""
    maps: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for c, (_, places) in enumerate(lies):
        for tensor, dim, place in places:
            maps.setdefault((tensor, dim), []).append((c, place))
    members = []
    for (tensor, dim), pairs in maps.items():
        channels, places = np.array(pairs).T
        members.append(Member(tensor, dim, int(atoms.tensors[tensor][dim][places[0]]) in consumed, channels, places))
    return tuple(members)


def _unique(name: str, groups: Sequence[ChannelGroup]) -> str:
    taken = {group.name for group in groups}
    return next(n for n in (name, *(f"{name}#{k}" for k in range(2, len(taken) + 3))) if n not in taken)
