"""Channels: atoms that ties make one, where they lie, and which are alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .atoms import Atoms, BoolArray, IntArray


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


def among(channel: IntArray, parts: Sequence[IntArray]) -> BoolArray:
    """Which channels have an atom in one of the parts. Shape: channel (atoms,) → (atoms,)"""
    found = np.zeros(len(channel), np.bool_)
    for part in parts:
        found[channel[part]] = True
    return found


@dataclass(frozen=True, eq=False)
class Places:
    """Where N atoms lie: ``number`` of their channel, ``line`` (one dimension of one tensor) and place in it.

    ``lines`` names tensor and dimension. Shape: atom, number, line, place (N,)
    """

    lines: tuple[tuple[str, int], ...]
    atom: IntArray
    number: IntArray
    line: IntArray
    place: IntArray

    @classmethod
    def of(cls, atoms: Atoms, channel: IntArray, alive: IntArray) -> "Places":
        """The places of these channels, which are numbered in their order. Shape: channel (atoms,), alive (C,)"""
        lines = [(tensor, dim, along) for tensor, dims in atoms.tensors.items() for dim, along in enumerate(dims)]
        atom = np.concatenate([along for *_, along in lines])
        line = np.repeat(np.arange(len(lines)), [len(along) for *_, along in lines])
        place = np.concatenate([np.arange(len(along)) for *_, along in lines])
        here = among(np.arange(atoms.count), [alive])[channel[atom]]
        number = np.searchsorted(alive, channel[atom[here]])
        return cls(tuple((tensor, dim) for tensor, dim, _ in lines), atom[here], number, line[here], place[here])

    def kinds(self, tells: BoolArray, fate: IntArray) -> IntArray:
        """Numbers channels by their fate and the set of lines that they lie in, of those that tell them apart.

        Shape: tells (lines,), fate (C,) → (C,)
        """
        span = len(self.lines)
        pairs = np.sort((self.number * span + self.line)[tells[self.line]])
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        ends = np.searchsorted(pairs // span, np.arange(len(fate) + 1)) * pairs.itemsize
        lines = (pairs % span).tobytes()
        seen: dict[tuple[bytes, int], int] = {}
        keys = [(lines[a:b], f) for (a, b), f in zip(pairwise(ends.tolist()), fate.tolist(), strict=True)]
        return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)

    def parts(self, kind: IntArray) -> Iterator[tuple[int, IntArray]]:
        """The atoms of every kind of channel and line, by channel and place. Yields (kind, positions in N)"""
        of = kind[self.number]
        order = np.lexsort((self.place, self.number, self.line, of))
        starts = np.flatnonzero(np.diff((of * len(self.lines) + self.line)[order], prepend=-1))
        for start, end in pairwise([*starts.tolist(), len(order)]):
            yield int(of[order[start]]), order[start:end]
