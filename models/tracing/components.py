"""Channels: atoms that ties make one, where they lie, and which are alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .atoms import BoolArray, IntArray


def connected_components(count: int, ties: Sequence[tuple[IntArray, IntArray]]) -> IntArray:
    """The smallest atom of every atom's connected component. Shape: → (count,)"""
    parent = np.arange(count)
    one, other = (np.concatenate(side) for side in zip(*ties, strict=True)) if ties else (parent[:0], parent[:0])
    while len(one):  # pairs of the smallest atoms of components still to be joined
        np.minimum.at(parent, np.maximum(one, other), np.minimum(one, other))
        while (parent[parent] != parent).any():
            parent = parent[parent]
        one, other = parent[one], parent[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return parent


def has_member(channel: IntArray, parts: Sequence[IntArray]) -> BoolArray:
    """Which channels have an atom in one of the parts. Shape: channel (atoms,) → (atoms,)"""
    found = np.zeros(len(channel), np.bool_)
    for part in parts:
        found[channel[part]] = True
    return found


@dataclass(frozen=True, eq=False)
class Places:
    """Where channels lie: the ``number`` of a channel, a ``line`` and a place in it, N of them.

    A line stands for all ``dims``, of tensors by name, that have the same channels at the same places: a convolution's
    filters, and the vectors of the batch norm behind it. Shape: number, line, place (N,)
    """

    dims: tuple[tuple[tuple[str, int], ...], ...]  # of each line
    number: IntArray
    line: IntArray
    place: IntArray

    @classmethod
    def of(cls, tensors: Mapping[str, Sequence[IntArray]], channel: IntArray, alive: IntArray) -> "Places":
        """The places of these channels, which are numbered in their order. Shape: channel (atoms,), alive (C,)"""
        numbers = np.full(len(channel), -1)
        numbers[alive] = np.arange(len(alive))
        numbers = numbers[channel]
        lines: dict[bytes, list[tuple[str, int]]] = {}
        for tensor, dims in tensors.items():
            for dim, along in enumerate(dims):
                if len(along):
                    same = numbers[along[0] : along[-1] + 1].tobytes()  # atoms along a dimension are neighbours
                    lines.setdefault(same, []).append((tensor, dim))
        parts = [np.frombuffer(same, numbers.dtype) for same in lines]
        line = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        place = np.concatenate([np.arange(len(part)) for part in parts])
        number = np.concatenate(parts)
        here = np.flatnonzero(number >= 0)
        return cls(tuple(map(tuple, lines.values())), number[here], line[here], place[here])

    def equivalence_classes(self, distinguishing: BoolArray, fate: IntArray) -> IntArray:
        """The kind of each channel, a number: those of a kind share their fate, and lie equally often in the same lines
        among the ``distinguishing`` ones.

        Shape: distinguishing (lines,) bool, fate (C,) → (C,)
        """
        span = len(self.dims)
        pairs = np.sort((self.number * span + self.line)[distinguishing[self.line]])
        number, line = np.divmod(pairs, span)
        sizes = np.bincount(number, minlength=len(fate))
        # neighbours are mostly alike: only those that differ from the channel before them are looked up
        first = (np.diff(fate, prepend=-1) != 0) | (np.diff(sizes, prepend=-1) != 0)
        first[number[line != line[np.arange(len(line)) - sizes[number]]]] = True
        ends, seen = np.cumsum(sizes), dict[tuple[bytes, int], int]()
        keys = [(line[ends[c] - sizes[c] : ends[c]].tobytes(), int(fate[c])) for c in np.flatnonzero(first)]
        kinds: IntArray = np.array([seen.setdefault(key, len(seen)) for key in keys])[np.cumsum(first) - 1]
        return kinds

    def parts(self, kind: IntArray) -> Iterator[tuple[int, IntArray]]:
        """The atoms of every kind of channel and line, by channel and place. Yields (kind, positions in N)"""
        part = kind[self.number] * len(self.dims) + self.line
        order = np.argsort(part * len(kind) + self.number, kind="stable")  # places ascend already
        starts = np.flatnonzero(np.diff(part[order], prepend=-1))
        for start, end in pairwise([*starts.tolist(), len(order)]):
            yield int(part[order[start]]) // len(self.dims), order[start:end]
