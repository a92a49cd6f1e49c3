"""The ledger of a trace: the labels of each tensor, and all that is known about channels."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from .atoms import NOBODY, NOTHING, IntArray, Labels, Product, Reduction
from .components import connected_components
from .held_numbers import NOTHING_HELD, HeldNumbers


class Ledger:
    """The part of a trace that the rule of an operation may look up and write.

    To look up: ``labels``, ``along``, ``is_weight``, ``is_table``, ``tied``, ``holds``, ``numbers``. To write: ``tie``,
    ``meet``, ``cut``, ``point`` and ``freeze`` limit which channels can be removed; ``produce``, ``read``,
    ``normalise`` and ``reduce`` say what is done with them; ``product`` counts what is multiplied; ``alias`` makes a
    weight known under another view. ``held``: the numbers in attributes of the network.
    """

    def __init__(self, held: HeldNumbers = NOTHING_HELD) -> None:
        self._count = 1
        self._labels: dict[int, tuple[Tensor, Labels]] = {}
        self._names: list[str] = []  # of the network's tensors, in order
        self._first: list[int] = []  # the first atom of each
        self._weights: set[int] = set()  # ids of parameters and buffers, moved or not
        self._computed: dict[int, Tensor] = {}  # weights that forward computes, by id
        self._tables: dict[int, Tensor] = {}  # buffers, and what forward makes of them alone, by id
        self._ties: list[tuple[IntArray, IntArray]] = []
        self._frozen: list[tuple[IntArray, str]] = []
        self._made: list[IntArray] = []
        self._read: list[IntArray] = []
        self._summed: list[IntArray] = []
        self._normed: list[IntArray] = []
        self._operation = "", 0  # that runs now, and how many of this name ran before
        self._reductions: dict[tuple[str, int], list[Reduction]] = {}
        self._reshaped: dict[tuple[tuple[int, ...], bytes], slice] = {}  # labels behind a reshape → their ties
        self._blocks: set[tuple[tuple[int, ...], bytes]] = set()  # those that turned out to be blocks of places
        self._canvases: dict[int, tuple[IntArray, set[int]]] = {}
        self._guarded: dict[int, tuple[Tensor, IntArray, str]] = {}
        self._products: list[Product] = []
        self._numbers: dict[str, IntArray] = {}  # in buffers of whole numbers
        self._pointers: dict[str, IntArray] = {}  # buffers whose numbers are places of channels → the labels there
        self._cuts: list[tuple[IntArray, ...]] = []
        self._held = held

    def labels(self, value: object) -> Labels:
        """The labels of a tensor; none for anything that no parameter has touched."""
        known = self._labels.get(id(value))
        return known[1] if known else []

    def put(self, tensor: Tensor, labels: Labels) -> None:
        """Label a tensor. It is held, so that its id stays its own."""
        self._labels[id(tensor)] = (tensor, labels)

    def is_blank(self, whole: Tensor) -> bool:
        """Whether only writing into parts of this tensor has labelled it."""
        return self.is_canvas(whole) or not self.labels(whole)

    def is_canvas(self, whole: Tensor) -> bool:
        """Whether forward wrote labelled values into parts of this tensor."""
        return id(whole) in self._canvases

    def canvas(self, whole: Tensor) -> tuple[IntArray, set[int]]:
        """The label of each of its elements, as written so far, and the dimensions along which they are channels."""
        return self._canvases.get(id(whole), (np.full(whole.shape, NOTHING), set()))

    def draw(self, whole: Tensor, canvas: IntArray, along: set[int], labels: Labels) -> None:
        """These are such labels now; ``labels`` are what they say of the whole."""
        self._canvases[id(whole)] = canvas, along
        self.put(whole, labels)

    def along(self, value: Tensor, dim: int) -> IntArray | None:
        """The labels along ``dim`` alone, flat; labels that also vary elsewhere are frozen."""
        found = None
        for each in self.labels(value):
            if each.shape[dim] > 1:
                found = self.line(each, dim)
                if found is None:
                    self.freeze([each], "varies along channels and another dimension at once")
        return found

    def line(self, each: IntArray, dim: int) -> IntArray | None:
        """These labels along ``dim``, flat, where the places of the other dimensions are tied; None where they aren't.

        A reshape from one dimension to (channels, places...) is taken at this word: a channel is a block of places.
        """
        first = _first(each, dim)
        if first.size < each.size and not self.tied(each, first):
            reshaped = self._reshaped.pop(_key(each), None)
            if reshaped is None or any(n > 1 for n in each.shape[:dim]):
                return None
            self._blocks.add(_key(each))
            self._ties[reshaped] = [(first[:0].reshape(-1), first[:0].reshape(-1))] * len(self._ties[reshaped])
            self.tie(first, each)
        return first.reshape(-1)

    def is_weight(self, value: object) -> bool:
        """Whether this is a parameter or buffer, or what forward computes of them alone."""
        return id(value) in self._weights or id(value) in self._computed

    def is_table(self, value: object) -> bool:
        """Whether this is a buffer, or made of buffers alone: a layer may read it, as coordinates of positions."""
        return id(value) in self._tables

    def is_parameter(self, value: object) -> bool:
        """Whether this is a parameter or buffer, or a view of one."""
        return id(value) in self._weights

    def let_vary(self, value: Tensor) -> None:
        """What comes of a parameter, such as a learnt state to begin with, is an activation from here on."""
        self._weights.discard(id(value))
        self._computed.pop(id(value), None)

    def tied(self, a: IntArray, b: IntArray) -> bool:
        """Whether atoms at the same places are already tied, also through others."""
        root = connected_components(self._count, self._ties)
        return bool((root[a] == root[b]).all())

    def numbers(self, value: Tensor) -> IntArray | None:
        """The whole numbers in a buffer of one dimension, if this is one as it is stored."""
        (atoms, *more) = self.labels(value) if self.is_parameter(value) else [NOBODY]
        name = self.owner(int(atoms.flat[0])) if atoms.size > 1 and not more else ""
        found = self._numbers.get(name)
        return found if found is not None and value.ndim == 1 and len(found) == len(value) else None

    def point(self, buffer: Tensor, line: IntArray) -> None:
        """The numbers in a buffer are places along this line, from which forward takes channels."""
        name = self.owner(int(self.labels(buffer)[0].flat[0]))
        known = self._pointers.setdefault(name, line)
        if len(known) == len(line):
            self.tie(known, line)
        else:
            self.freeze([known, line], f"is ordered by {name} beside channels of another number")

    def holds(self, sizes: Sequence[int]) -> bool:
        """Whether attributes of the network hold these sizes, in one list or each by itself."""
        return self._held.have(sizes)

    def tie(self, a: IntArray, b: IntArray) -> None:
        """Places that meet live or die together; a channel that meets nothing can't be removed."""
        if a.shape != b.shape:
            a, b = np.broadcast_arrays(a, b)
        left, right = a.reshape(-1), b.reshape(-1)
        if np.count_nonzero(left) + np.count_nonzero(right) < 2 * left.size:  # some are NOTHING
            lonely = (left == NOTHING) != (right == NOTHING)
            if lonely.any():
                self.freeze([(left + right)[lonely]], "meets zero padding of a fixed width")
            both = (left != NOTHING) & (right != NOTHING)
            left, right = left[both], right[both]
        self._ties.append((left, right))

    def lay_out(self, parts: IntArray) -> None:
        """A reshape laid the channels of one dimension out along several; its parts stay equal.

        Forward most likely means the number of parts to stay, not their size (channel shuffle, heads of attention).
        What comes next may show that the first dimension holds channels, each a block of places: see ``line``.
        """
        if _key(parts) in self._blocks:
            return
        before = len(self._ties)
        for dim in [d for d, n in enumerate(parts.shape) if n > 1][:-1]:
            self.tie(parts.take([0], dim), parts)
        self._reshaped[_key(parts)] = slice(before, len(self._ties))

    def cut(self, parts: Sequence[IntArray]) -> None:
        """Channels are cut into these parts, whose sizes attributes of the network hold."""
        self._cuts.append(tuple(part.reshape(len(part), -1)[:, 0] if part.size else part.reshape(-1) for part in parts))

    def meet(self, labels: Iterable[IntArray], fixed: Sequence[Tensor]) -> Labels:
        """Tie labels that vary along the same dimension; freeze those that meet a tensor of a fixed size.

        A tensor that forward expands has no size of its own: it most likely takes that of the tensor that it meets.
        Returns the labels of the result.
        """
        kept: Labels = []
        for each in labels:
            varies = [d for d, n in enumerate(each.shape) if n > 1]
            if any(x.shape[d] > 1 and x.stride(d) != 0 for x in fixed for d in varies):
                self.freeze([each], "meets a tensor of a fixed size that forward makes")
            partner = next((i for i, k in enumerate(kept) if any(k.shape[d] > 1 for d in varies)), None)
            if partner is None:
                kept.append(each)
            else:
                kept[partner], each = self._as_blocks(kept[partner], each)
                self.tie(kept[partner], each)
        return kept

    def _as_blocks(self, a: IntArray, b: IntArray) -> tuple[IntArray, IntArray]:
        """Labels that meet; a reshape's, as blocks of places where they meet channels along the first dimension."""
        for one, other in ((a, b), (b, a)):
            (dim, *more), along = ([d for d, n in enumerate(each.shape) if n > 1] for each in (one, other))
            if (
                more
                and along == [dim]
                and self._reshaped.keys() | self._blocks >= {_key(one)}
                and (line := self.line(one, dim)) is not None
            ):
                laid = line.reshape(other.shape)
                return (laid, b) if one is a else (a, laid)
        return a, b

    def freeze(self, labels: Labels, reason: str) -> None:
        """None of these atoms can be removed; ``reason`` follows the name of their layer."""
        self._frozen += [(each.reshape(-1), reason) for each in labels]

    def produce(self, atoms: IntArray) -> None:
        """A layer makes these channels: they can be pruned where a weight reads them."""
        self._made.append(atoms)

    def read(self, atoms: IntArray) -> None:
        """A weight sums over these places of its own."""
        self._read.append(atoms)

    def normalise(self, atoms: IntArray) -> None:
        """A statistic is taken over these channels, and will be of those that stay."""
        self._normed.append(atoms)

    def reduce(self, argument: int, dim: int, atoms: IntArray) -> None:
        """The operation that runs now reduces this argument along ``dim``, over those of the channels that stay."""
        self._reductions.setdefault(self._operation, []).append(Reduction(argument, dim, atoms))

    def sum_over(self, atoms: IntArray) -> None:
        """Forward reduces over these channels without a weight; they can be pruned, as if a weight read them."""
        self._summed.append(atoms)

    def guard(self, value: Tensor, atoms: IntArray, reason: str) -> None:
        """Freeze these atoms if this tensor is ever used."""
        self._guarded[id(value)] = value, atoms, reason

    def product(self, weight: Tensor, scale: int, rows: IntArray, columns: IntArray) -> None:
        """Count multiply-accumulates: ``scale`` for every pair of a row and a column."""
        atom = next((int(e.flat[0]) for e in self.labels(weight)), NOTHING) if self.is_weight(weight) else NOTHING
        name = self.owner(atom) if atom else "a product of activations"
        self._products.append(Product(name, scale, rows, columns))

    def alias(self, weight: Tensor, moved: Tensor) -> None:
        """A weight that was only moved (transposed, viewed) is still a weight."""
        if self.is_parameter(weight):
            self._weights.add(id(moved))

    def owner(self, atom: int) -> str:
        """The parameter or buffer that an atom lies in."""
        return self._names[bisect_right(self._first, atom) - 1]


def _first(each: IntArray, dim: int) -> IntArray:
    """The labels along one dimension at the first place of all others."""
    return each[tuple(slice(None) if d == dim else slice(1) for d in range(each.ndim))]


def _key(labels: IntArray) -> tuple[tuple[int, ...], bytes]:
    """What two arrays of the same labels have in common, whatever dimensions of size 1 they have."""
    return tuple(n for n in labels.shape if n > 1), labels.tobytes()
