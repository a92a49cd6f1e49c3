"""What a network costs, as closed forms over the widths of its channel groups.

MACs: multiply-accumulates of one image through convolutions, linear layers and matrix products; batch norm,
activations, pooling and biases are not counted. One MAC is two FLOPs. The same numbers, halved, as
``torch.utils.flop_counter`` gives on the built network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from .atoms import Atoms, FloatArray, IntArray
from .groups import Grouping


@dataclass(frozen=True, eq=False)
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

    def __call__(self, widths: IntArray) -> IntArray:
        """The sum at each vector of widths. Shape: widths (..., G) → (...,)"""
        w = np.asarray(widths, np.float64)
        rows, columns = w @ self.rows.T + self.rows_fixed, w @ self.columns.T + self.columns_fixed
        total: IntArray = np.rint((rows * columns) @ self.scale).astype(np.int64)
        return total


@dataclass(frozen=True, eq=False)
class Costs:
    """The two costs of a network. ``products`` names the tensor of each term of ``macs``."""

    macs: Bilinear
    parameters: Bilinear
    products: tuple[str, ...]

    @classmethod
    def of(cls, atoms: Atoms, grouping: Grouping, parameters: dict[str, tuple[int, ...]]) -> "Costs":
        """Closed forms from a trace. ``parameters``: the shape of each trainable tensor."""
        widths = np.array([group.width for group in grouping.groups])
        macs = [(p.scale, p.rows, p.columns) for p in atoms.products]
        sizes = []
        nobody = np.zeros(1, np.int64)
        for name in parameters:
            narrowed_first = sorted(atoms.tensors[name], key=lambda line: bool((grouping.group_of[line] < 0).all()))
            first, second, *others = [*narrowed_first, nobody, nobody]
            sizes.append((prod(map(len, others)), first, second))
        return cls(
            _bilinear(macs, grouping.group_of, widths),
            _bilinear(sizes, grouping.group_of, widths),
            tuple(p.tensor for p in atoms.products),
        )


def macs(costs: Costs, widths: IntArray) -> IntArray:
    """Multiply-accumulates of one image. Shape: widths (..., G) → (...,)"""
    return costs.macs(widths)


def parameters(costs: Costs, widths: IntArray) -> IntArray:
    """Trainable numbers; running statistics are not counted. Shape: widths (..., G) → (...,)"""
    return costs.parameters(widths)


def macs_share(costs: Costs, widths: IntArray, tensors: set[str]) -> float:
    """The share of the MACs that lies in the products of these tensors. Shape: widths (G,)"""
    w, form = np.asarray(widths, np.float64), costs.macs
    each = form.scale * (form.rows @ w + form.rows_fixed) * (form.columns @ w + form.columns_fixed)
    return float(each[[name in tensors for name in costs.products]].sum() / each.sum())


def _bilinear(terms: Sequence[tuple[int, IntArray, IntArray]], group_of: IntArray, widths: IntArray) -> Bilinear:
    rows, rows_fixed = _counts([rows for _, rows, _ in terms], group_of, widths)
    columns, columns_fixed = _counts([columns for *_, columns in terms], group_of, widths)
    return Bilinear(np.array([s for s, *_ in terms], np.float64), rows, rows_fixed, columns, columns_fixed)


def _counts(lines: Sequence[IntArray], group_of: IntArray, widths: IntArray) -> tuple[FloatArray, FloatArray]:
    """How many places each group holds along each line of atoms, per channel; and how many nobody holds."""
    counts, fixed = np.zeros((len(lines), len(widths))), np.zeros(len(lines))
    for line, atoms in enumerate(lines):
        held = np.bincount(group_of[atoms] + 1, minlength=len(widths) + 1)
        fixed[line], counts[line] = held[0], held[1:] / widths
    return counts, fixed
