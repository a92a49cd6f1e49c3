"""Channel groups: channels of several layers that live or die together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .atoms import NOTHING, BoolArray, FloatArray, IntArray, Trace
from .components import Places, connected_components, has_member


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
    """``width`` channels that can be removed one by one; ``frozen``: the reason why they can't, if there is one.

    ``normed``: a layer or group norm takes its statistics over them, so that removing some changes what the
    norm does to the others.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    frozen: str | None = None
    normed: bool = False

    def atoms(self, tensors: Mapping[str, Sequence[IntArray]]) -> IntArray:
        """One atom of each channel, out of those of all tensors. Shape: → (width,)"""
        found = np.full(self.width, NOTHING)
        for member in self.members:
            found[member.channels] = tensors[member.tensor][member.dim][member.places]
        return found


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups of a network, and to which of them each atom belongs (-1: to none that can be pruned)."""

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[ChannelGroup, ...]
    group_of: IntArray  # (atoms,)


def grouping(trace: Trace) -> Grouping:
    """The channel groups of a trace.

    Ties make channels out of atoms (connected components). Channels that lie in exactly the same dimensions
    of the same tensors form one group: removing any of them changes the same shapes by the same amounts. In
    an option-A ResNet the 16 channels of the first stage that run on into the later ones are thus one
    group, the 16 that the second stage adds another. A channel can be pruned where some layer makes it,
    some weight reads it or a sum takes it in, and nothing froze it; the only channel of its kind can't.
    """
    channel = connected_components(trace.count, trace.ties)
    alive = has_member(channel, trace.made)
    alive[channel[NOTHING]] = False
    fate, reasons = _fates(trace, channel, alive)
    normed = has_member(channel, trace.normed)
    prunable: list[ChannelGroup] = []
    frozen: list[ChannelGroup] = []
    taken: Counter[str] = Counter()
    group_of = np.full(trace.count, -1)
    for channels, members in _alike(trace, channel, np.flatnonzero(alive), fate):
        name = _name(members, taken)
        why = reasons[fate[channels[0]]]
        if why is None and len(channels) == 1:
            why = f"is one channel of {len(members[0].places)} places, all tied together"
        found = frozen if why else prunable
        group_of[channels] = -1 if why else len(prunable)
        found.append(ChannelGroup(name, len(channels), members, why, bool(normed[channels[0]])))
    return Grouping(tuple(prunable), tuple(frozen), group_of[channel])


def _name(members: Sequence[Member], taken: Counter[str]) -> str:
    """The layer that makes a group first, with the number of such groups from the second on."""
    maker = next((m.tensor for m in members if not m.reads), members[0].tensor)
    name = maker.rpartition(".")[0] or maker
    taken[name] += 1
    return f"{name}#{taken[name]}" if taken[name] > 1 else name


def _fates(trace: Trace, channel: IntArray, alive: BoolArray) -> tuple[IntArray, list[str | None]]:
    """The fate of each channel, a number, and the reason that each number stands for; 0 is free.

    Shape: channel, alive (atoms,) → (atoms,)
    """
    meaning: dict[str | None, int] = {None: 0, "is read by no layer": 1}
    fate = np.where(alive & ~has_member(channel, [*trace.read, *trace.summed]), 1, 0)
    for labels, why in reversed(trace.frozen):  # the first reason met counts
        fate[channel[labels]] = meaning.setdefault(why, len(meaning))
    return fate, list(meaning)


def _alike(
    trace: Trace, channel: IntArray, alive: IntArray, fate: IntArray
) -> Iterator[tuple[IntArray, tuple[Member, ...]]]:
    """Channels that lie in the same dimensions, at equally many places, and share their fate, with their members, in
    order of the network.

    Buffers that no product reads (the zeros of a padding shortcut) don't distinguish channels: their sizes
    enter no cost.
    """
    if not len(alive):
        return
    places = Places.of(trace.tensors, channel, alive)
    counted = trace.parameters | {product.tensor for product in trace.products}
    kind = places.equivalence_classes(
        np.array([any(tensor in counted for tensor, _ in same) for same in places.dims]), fate[alive]
    )
    numbers = np.split(np.argsort(kind, kind="stable"), np.cumsum(np.bincount(kind))[:-1])
    for each, members in zip(numbers, _members(trace, places, kind, numbers), strict=True):
        yield alive[each], members


def _members(trace: Trace, places: Places, kind: IntArray, numbers: Sequence[IntArray]) -> Iterator[tuple[Member, ...]]:
    """The members of every kind of channels, in order of the network. Shape: kind (C,), numbers of each kind's (n,)"""
    consumed = has_member(np.arange(trace.count), trace.read)
    within = np.empty_like(kind)  # the number of a channel among those of its kind
    for each in numbers:
        within[each] = np.arange(len(each))
    members: list[list[Member]] = [[] for _ in numbers]
    for k, part in places.parts(kind):
        channels, at = within[places.number[part]], places.place[part]
        for tensor, dim in places.dims[places.line[part[0]]]:
            reads = bool(consumed[trace.tensors[tensor][dim][at[0]]])
            members[k].append(Member(tensor, dim, reads, channels, at))
    order = {tensor: position for position, tensor in enumerate(trace.tensors)}
    for found in members:
        yield tuple(sorted(found, key=lambda member: (order[member.tensor], member.dim)))
