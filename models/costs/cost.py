"""What a network costs, as closed forms over the widths of its channel groups.

MACs: multiply-accumulates of one image through convolutions, linear layers and matrix products; one MAC is
two FLOPs. ``torch.utils.flop_counter`` counts twice these numbers on the slimmed network. Batch norm, activations,
pooling and biases are not counted; ``Costs.uncounted`` lists those that a network has.

Memory: the most bytes of activations that live at once while one image is computed, if each tensor is freed after
the last operation that reads it. Weights, and the workspace of single operations, come on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..tracing.atoms import Activation, FloatArray, IntArray, Trace
from ..tracing.groups import Grouping


@dataclass(frozen=True, eq=False, repr=False)
class Bilinear:
    """Σ_l scale_l · (rows_l · w + rows_fixed_l) · (columns_l · w + columns_fixed_l)

    Held as float64, whose products are exact to 2^53, since BLAS is an order faster than integers.

    Shape: scale (L,), rows (L, G), rows_fixed (L,), columns (L, G), columns_fixed (L,)
    """

    scale: FloatArray
    rows: FloatArray
    rows_fixed: FloatArray
    columns: FloatArray
    columns_fixed: FloatArray

    def __repr__(self) -> str:
        return f"Bilinear(terms={self.rows.shape[0]}, groups={self.rows.shape[1]})"

    def factors(self, widths: IntArray) -> FloatArray:
        """Each term without its scale. Shape: widths (..., G) → (..., L)"""
        w = np.asarray(widths, np.float64)
        product: FloatArray = (w @ self.rows.T + self.rows_fixed) * (w @ self.columns.T + self.columns_fixed)
        return product

    def __call__(self, widths: IntArray) -> IntArray:
        """The sum for each vector of widths. Shape: widths (..., G) → (...,)"""
        total: IntArray = np.rint(self.factors(widths) @ self.scale).astype(np.int64)
        return total

    def gradient(self, widths: IntArray) -> FloatArray:
        """The cost of one more channel in each group, to first order. Shape: widths (G,) → (G,)"""
        w = np.asarray(widths, np.float64)
        rows, columns = self.rows @ w + self.rows_fixed, self.columns @ w + self.columns_fixed
        added: FloatArray = (self.scale * columns) @ self.rows + (self.scale * rows) @ self.columns
        return added


@dataclass(frozen=True, eq=False, repr=False)
class Peak:
    """max_t Σ_a liveness_at · size_a: the total size of the tensors a that live at moment t, at the worst moment.

    Shape: liveness (L, T)
    """

    sizes: Bilinear
    liveness: FloatArray

    def __repr__(self) -> str:
        return f"Peak(tensors={self.liveness.shape[0]}, moments={self.liveness.shape[1]})"

    def __call__(self, widths: IntArray) -> IntArray:
        """The peak for each vector of widths. Shape: widths (..., G) → (...,)"""
        at = self.sizes.factors(widths) @ (self.sizes.scale[:, None] * self.liveness)
        most: IntArray = np.rint(at.max(-1)).astype(np.int64)
        return most


@dataclass(frozen=True, eq=False, repr=False)
class Costs:
    """The costs of one image: MACs, trainable numbers (running statistics excluded), peak bytes of activations.

    ``products`` names the tensor of each term of ``macs``; ``uncounted`` the operations that no cost includes.
    """

    macs: Bilinear
    parameters: Bilinear
    memory: Peak
    products: tuple[str, ...]
    uncounted: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Costs(macs={self.macs}, parameters={self.parameters}, memory={self.memory})"

    @classmethod
    def of(cls, trace: Trace, grouping: Grouping) -> "Costs":
        """Closed forms from a trace."""
        macs = [(p.scale, (p.rows, p.columns)) for p in trace.products]
        sizes = [(1, along) for name, along in trace.tensors.items() if name in trace.parameters]
        bytes_ = [(a.scale, a.lines) for a in trace.activations]
        return cls(
            _bilinear(macs, grouping),
            _bilinear(sizes, grouping),
            Peak(_bilinear(bytes_, grouping), _live(trace.activations)),
            tuple(p.tensor for p in trace.products),
            tuple(sorted({name.removeprefix("aten.").strip("_") for name in trace.uncounted})),
        )


def _live(activations: Sequence[Activation]) -> FloatArray:
    """Which activations live at which moment, for the moments just before one is freed. Shape: → (L, T)"""
    born, last = (np.array([getattr(a, end) for a in activations]) for end in ("born", "last"))
    moments = np.unique(last)
    live: FloatArray = ((born[:, None] <= moments) & (moments <= last[:, None])).astype(np.float64)
    return live


def _bilinear(terms: Sequence[tuple[int, Sequence[IntArray]]], grouping: Grouping) -> Bilinear:
    """Terms scale x alive(line) x ... : at most two lines that pruning narrows, the others as they are."""
    lines = [line for _, own in terms for line in own]
    counts, fixed = _counts([*lines, np.zeros(1, np.int64)], grouping)
    narrowed, nobody, start = [bool(each.any()) for each in counts], len(lines), 0
    scale, rows, columns = [], [], []
    for factor, own in terms:
        narrowed_first = sorted(range(start, start + len(own)), key=lambda line: not narrowed[line])
        first, second, *others = [*narrowed_first, nobody, nobody]
        scale.append(factor * prod(len(lines[line]) for line in others if line != nobody))
        rows.append(first)
        columns.append(second)
        start += len(own)
    return Bilinear(np.array(scale, np.float64), counts[rows], fixed[rows], counts[columns], fixed[columns])


def _counts(lines: Sequence[IntArray], grouping: Grouping) -> tuple[FloatArray, FloatArray]:
    """How many places each group holds along each line of atoms, per channel; and how many nobody holds."""
    widths = np.array([group.width for group in grouping.groups])
    line, columns = np.repeat(np.arange(len(lines)), [len(each) for each in lines]), len(widths) + 1
    places = line * columns + grouping.group_of[np.concatenate(lines)] + 1
    held = np.bincount(places, minlength=len(lines) * columns).reshape(len(lines), columns)
    return held[:, 1:] / widths, held[:, 0].astype(np.float64)
