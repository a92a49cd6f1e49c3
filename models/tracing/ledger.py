"""The ledger of a trace: the labels of each tensor, and all that is known about channels."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from .atoms import NOTHING, IntArray, Labels, Product, Trace, lay
from .components import connected_components


class Ledger:
    """The part of a trace that the rule of an operation may look up and write.

    To look up: ``labels``, ``along``, ``is_weight``, ``tied``. To write: ``tie``, ``meet`` and ``freeze`` limit which
    channels can be removed; ``produce``, ``read``, ``normalise`` and ``average`` say what is done with them;
    ``product`` counts what is multiplied; ``alias`` makes a weight known under another view.
    """

    def __init__(self) -> None:
        self._count = 1
        self._labels: dict[int, tuple[Tensor, Labels]] = {}
        self._names: list[str] = []  # of the network's tensors, in order
        self._first: list[int] = []  # the first atom of each
        self._weights: set[int] = set()  # ids of parameters and buffers, moved or not
        self._ties: list[tuple[IntArray, IntArray]] = []
        self._frozen: list[tuple[IntArray, str]] = []
        self._made: list[IntArray] = []
        self._read: list[IntArray] = []
        self._normed: list[IntArray] = []
        self._averages = 0
        self._statistics: dict[int, list[tuple[int, IntArray]]] = {}
        self._products: list[Product] = []

    def labels(self, value: object) -> Labels:
        """The labels of a tensor; none for anything that no parameter has touched."""
        known = self._labels.get(id(value))
        return known[1] if known else []

    def along(self, value: Tensor, dim: int) -> IntArray | None:
        """The labels along ``dim`` alone, flat; labels that also vary elsewhere are frozen."""
        found = None
        for each in self.labels(value):
            if each.shape[dim] > 1 and each.size == each.shape[dim]:
                found = each.reshape(-1)
            elif each.shape[dim] > 1:
                self.freeze([each], "varies along channels and another dimension at once")
        return found

    def is_weight(self, value: object) -> bool:
        """Whether this is a parameter or buffer, or a view of one."""
        return id(value) in self._weights

    def tied(self, a: IntArray, b: IntArray) -> bool:
        """Whether atoms at the same places are already tied, also through others."""
        root = connected_components(self._count, self._ties)
        return bool((root[a] == root[b]).all())

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
            partner = next((k for k in kept if any(k.shape[d] > 1 for d in varies)), None)
            if partner is None:
                kept.append(each)
            else:
                self.tie(partner, each)
        return kept

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

    def average(self, dim: int, atoms: IntArray) -> None:
        """The average that runs now is such a statistic, along ``dim``."""
        self.normalise(atoms)
        self._statistics.setdefault(self._averages, []).append((dim, atoms))

    def product(self, weight: Tensor, scale: int, rows: IntArray, columns: IntArray) -> None:
        """Count multiply-accumulates: ``scale`` for every pair of a row and a column."""
        atom = next((int(e.flat[0]) for e in self.labels(weight)), NOTHING) if self.is_weight(weight) else NOTHING
        name = self.owner(atom) if atom else "a product of activations"
        self._products.append(Product(name, scale, rows, columns))

    def alias(self, weight: Tensor, moved: Tensor) -> None:
        """A weight that was only moved (transposed, viewed) is still a weight."""
        if self.is_weight(weight):
            self._weights.add(id(moved))

    def owner(self, atom: int) -> str:
        """The parameter or buffer that an atom lies in."""
        return self._names[bisect_right(self._first, atom) - 1]


class TracerLedger(Ledger):
    """The ledger as the tracer keeps it, who also enters tensors, labels results and closes it."""

    def __init__(self) -> None:
        super().__init__()
        self._tensors: dict[str, list[IntArray]] = {}
        self._parameters: set[str] = set()

    def enter(self, name: str, tensor: Tensor, is_parameter: bool) -> None:
        """Give a parameter or buffer its atoms: fresh ones along every dimension."""
        self._names.append(name)
        self._first.append(self._count)
        along = []
        for size in tensor.shape:
            along.append(np.arange(self._count, self._count + size))
            self._count += size
        if is_parameter:
            self._parameters.add(name)
        self._tensors[name] = along
        laid = along if len(along) == 1 else [lay(each, d, len(along)) for d, each in enumerate(along)]
        self.put(tensor, [each for each in laid if each.size > 1])
        self._weights.add(id(tensor))

    def put(self, tensor: Tensor, labels: Labels) -> None:
        """Label a tensor. It is held, so that its id stays its own."""
        self._labels[id(tensor)] = (tensor, labels)

    def count_average(self) -> None:
        """An average has run."""
        self._averages += 1

    def close(self) -> Trace:
        """The trace so far; it holds no tensor of the forward pass."""
        return Trace(
            count=self._count,
            tensors=dict(self._tensors),
            parameters=frozenset(self._parameters),
            ties=tuple(self._ties),
            made=tuple(self._made),
            read=tuple(self._read),
            normed=tuple(self._normed),
            statistics={k: tuple(each) for k, each in self._statistics.items()},
            frozen=tuple(self._frozen),
            products=tuple(self._products),
        )
