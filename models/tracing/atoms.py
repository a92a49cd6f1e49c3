"""Atoms and labels, and the record of them that a trace is.

An *atom* is one place along one dimension of one parameter or buffer, a number. The *labels* of a tensor are
the atoms at its places: integer arrays with as many dimensions as the tensor, of size 1 where they do not
vary. An activation usually has one such array, along its channels; a convolution's weight has two that
matter, along its filters and along the channels that they read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

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


class Reduction(NamedTuple):
    """An operation reduces its ``argument`` (a position) along ``dim``, where these atoms lie."""

    argument: int
    dim: int
    atoms: IntArray


@dataclass(frozen=True)
class Activation:
    """A tensor of one image that forward makes: ``scale`` x alive(line) x ... bytes.

    It is needed from the operation ``born`` to the operation ``last``, which are counted from 0 (the input).
    """

    scale: int
    lines: tuple[IntArray, ...]
    born: int
    last: int


@dataclass(frozen=True, eq=False)
class Trace:
    """What one forward pass shows about the channels of a network.

    ``count``: how many atoms there are, 0 (nothing) among them. ``tensors``: the atoms along each dimension of each
    parameter and buffer, by name; ``parameters``: which of them are parameters; ``factors``: which of them forward
    computes weights of. ``ties``: pairs that live or die together. ``made``: atoms that a convolution or linear layer
    produces; ``read``: atoms of a weight that it sums over; ``summed``: atoms that forward reduces over without a
    weight; ``normed``: atoms of a statistic. ``reductions``: operation and number k → what the k-th such operation
    reduces, unless masked weights show it. ``frozen``: atoms that can't be removed, with the reason. ``products`` and
    ``activations`` are counted as costs; ``uncounted``: how often each other operation computes something. ``cuts``:
    the parts that channels are cut into by sizes that the network holds in attributes. ``pointers``: buffers whose
    numbers are places of channels → the atoms at these places.
    """

    count: int
    tensors: Mapping[str, Sequence[IntArray]]
    parameters: frozenset[str]
    factors: frozenset[str]
    ties: Sequence[tuple[IntArray, IntArray]]
    made: Sequence[IntArray]
    read: Sequence[IntArray]
    summed: Sequence[IntArray]
    normed: Sequence[IntArray]
    reductions: Mapping[tuple[str, int], Sequence[Reduction]]
    frozen: Sequence[tuple[IntArray, str]]
    products: Sequence[Product]
    activations: Sequence[Activation] = ()
    uncounted: Mapping[str, int] = field(default_factory=dict)
    cuts: Sequence[tuple[IntArray, ...]] = ()
    pointers: Mapping[str, IntArray] = field(default_factory=dict)


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
