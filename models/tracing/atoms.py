"""The ledger of a trace: atoms, the labels that place them on tensors, and what ties or freezes them.

An *atom* is one place along one dimension of one parameter or buffer, a number. The *labels* of a tensor say
which atom lives where: integer arrays with as many dimensions as the tensor, of size 1 where they do not
vary. An activation usually has one such array, along its channels; a convolution's weight has two that
matter, along its filters and along the channels that they read.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Labels: TypeAlias = list[IntArray]

NOTHING = 0  # the label of a place that no parameter made: zero padding, a tensor made in forward
NOBODY = np.zeros((), np.int64)  # the same as an array


@dataclass(frozen=True)
class Product:
    """Multiply-accumulates of one operation: ``scale`` x alive(rows) x alive(columns).

    ``rows`` and ``columns`` are the atoms along the two sizes that pruning can shrink.
    """

    tensor: str
    scale: int
    rows: IntArray
    columns: IntArray


@dataclass(frozen=True)
class Activation:
    """A tensor of one image that forward makes: ``scale`` x alive(line) x ... bytes.

    It is needed from the operation ``born`` to the operation ``last``, which are counted from 0 (the input).
    """

    scale: int
    lines: tuple[IntArray, ...]
    born: int
    last: int


@dataclass
class Atoms:
    """Everything one forward pass tells about channels.

    ``tensors``: the atoms along each dimension of each parameter and buffer. ``parameters``: which of them are
    parameters. ``ties``: pairs that live or die together. ``made``: atoms that a convolution or linear layer
    produces; ``read``: atoms of a weight that it sums over; ``normed``: atoms that a norm takes its statistics
    over, and ``statistics`` where forward does so itself: the dimension and the atoms along it at the k-th of
    the ``averages`` that it takes. ``frozen``: atoms that can't be removed, with the reason. ``uncounted``:
    names of the operations that compute and yet are no product.
    """

    count: int = 1
    tensors: dict[str, list[IntArray]] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)
    ties: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    made: list[IntArray] = field(default_factory=list)
    read: list[IntArray] = field(default_factory=list)
    normed: list[IntArray] = field(default_factory=list)
    averages: int = 0
    statistics: dict[int, list[tuple[int, IntArray]]] = field(default_factory=dict)
    frozen: list[tuple[IntArray, str]] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    uncounted: dict[str, int] = field(default_factory=dict)
    _names: list[str] = field(default_factory=list)  # of the tensors, in order
    _first: list[int] = field(default_factory=list)  # the first atom of each
    _known: dict[int, tuple[Tensor, Labels]] = field(default_factory=dict)
    _weights: set[int] = field(default_factory=set)  # ids of parameters, moved or not
    _idle: dict[int, str] = field(default_factory=dict)  # parameters that no operation has read yet, by id

    def enter(self, name: str, tensor: Tensor, is_parameter: bool) -> None:
        """Give a parameter or buffer its atoms: fresh ones along every dimension."""
        self._names.append(name)
        self._first.append(self.count)
        along = []
        for size in tensor.shape:
            along.append(np.arange(self.count, self.count + size))
            self.count += size
        if is_parameter:
            self.parameters.add(name)
            self._idle[id(tensor)] = name
        self.tensors[name] = along
        laid = along if len(along) == 1 else [lay(each, d, len(along)) for d, each in enumerate(along)]
        self.put(tensor, [each for each in laid if each.size > 1])
        self._weights.add(id(tensor))

    def touch(self, tensor: Tensor) -> None:
        """An operation reads this tensor."""
        self._idle.pop(id(tensor), None)

    @property
    def idle(self) -> list[str]:
        """The parameters that no operation has read."""
        return list(self._idle.values())

    def without_labels(self) -> "Atoms":
        """The ledger alone: the tensors of the forward pass are let go."""
        return replace(self, _known={}, _weights=set(), _idle={})

    def owner(self, atom: int) -> str:
        """The tensor that an atom lies in."""
        return self._names[bisect_right(self._first, atom) - 1]

    def put(self, tensor: Tensor, labels: Labels) -> None:
        """Label a tensor. It is held, so that its id stays its own."""
        self._known[id(tensor)] = (tensor, labels)

    def move(self, tensor: Tensor, moved: Tensor) -> None:
        """A parameter that was only moved (transposed, viewed) is still a weight."""
        if id(tensor) in self._weights:
            self._weights.add(id(moved))

    def is_weight(self, value: object) -> bool:
        """Whether this is a parameter or buffer, or a view of one."""
        return id(value) in self._weights

    def of(self, value: object) -> Labels:
        """The labels of a tensor; none for anything that no parameter has touched."""
        known = self._known.get(id(value))
        return known[1] if known else []

    def along(self, value: Tensor, dim: int) -> IntArray | None:
        """The labels along ``dim`` alone, flat; labels that also vary elsewhere are frozen."""
        found = None
        for each in self.of(value):
            if each.shape[dim] > 1 and each.size == each.shape[dim]:
                found = each.reshape(-1)
            elif each.shape[dim] > 1:
                self.freeze([each], "varies along channels and another dimension at once")
        return found

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
        self.ties.append((left, right))

    def freeze(self, labels: Labels, reason: str) -> None:
        """None of these atoms can be removed."""
        self.frozen += [(each.reshape(-1), reason) for each in labels]


def meet(atoms: Atoms, labels: Iterable[IntArray], fixed: Sequence[Tensor]) -> Labels:
    """Tie labels that vary along the same dimension; freeze those that meet a tensor of a fixed size.

    One that forward expands has no size of its own: it is most likely expanded to that of what it meets.
    """
    kept: Labels = []
    for each in labels:
        varies = [d for d, n in enumerate(each.shape) if n > 1]
        if any(x.shape[d] > 1 and x.stride(d) != 0 for x in fixed for d in varies):
            atoms.freeze([each], "meets a tensor of a fixed size that forward makes")
        partner = next((k for k in kept if any(k.shape[d] > 1 for d in varies)), None)
        if partner is None:
            kept.append(each)
        else:
            atoms.tie(partner, each)
    return kept


def lay(atoms: IntArray, dim: int, ndim: int) -> IntArray:
    """Flat labels laid along one of ``ndim`` dimensions."""
    return atoms.reshape((1,) * dim + (-1,) + (1,) * (ndim - dim - 1))


def widened(labels: IntArray, ndim: int) -> IntArray:
    """Labels for broadcasting: dimensions of size 1 in front, as torch does."""
    return labels.reshape((1,) * (ndim - labels.ndim) + labels.shape)


def compact(labels: IntArray) -> IntArray:
    """The same labels, of size 1 along every dimension where they do not vary."""
    labels = labels[tuple(slice(1) if stride == 0 else slice(None) for stride in labels.strides)]
    for dim in range(labels.ndim):
        if labels.shape[dim] > 1:
            first = labels.take([0], dim)
            if (labels == first).all():
                labels = first
    return labels


def something(labels: Labels) -> Labels:
    """The labels that name at least one atom."""
    return [each for each in labels if each.size > 1 or (each != NOTHING).any()]
