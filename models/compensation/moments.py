"""Moments of what a layer reads and what its output lacks, and the change of its weights that they prove."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .ridge import solve

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # of the mean of the inputs' second moments
WORTH = 0.02  # of a gain: what the next ridge must add to be taken


@dataclass(frozen=True, eq=False)
class Moments:
    """Σ e pᵀ and Σ p pᵀ over ``rows``: e is what an output lacks, p its input, with a one behind it if means are free.

    Moments of further rows are added with ``+``; memory does not grow with the rows.

    Shape: across (groups, made, d), among (groups, d, d)
    """

    across: Tensor
    among: Tensor
    rows: int

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.across + other.across, self.among + other.among, self.rows + other.rows)

    def fit(self, columns: int, ridge: float) -> Tensor:
        """The change of the weights by ridge regression. Shape: → (groups, made, d)"""
        return solve(self.across / self.rows, self.among / self.rows, columns, ridge)

    def gain(self, change: Tensor) -> float:
        """By how much a change of the weights lowers the squared error, Σ |e|² - |e - C p|² = 2 ⟨C, A⟩ - ⟨C H, C⟩.

        Shape: change C (groups, made, d)
        """
        return float((change * (2 * self.across - change @ self.among)).sum())

    def centred(self) -> "Moments":
        """The same without means, which the batch norm behind the layer removes; the ones become zeros."""
        ones = self.among[..., -1:]
        across = self.across - self.across[..., -1:] @ ones.mT / self.rows
        return Moments(across, self.among - ones @ ones.mT / self.rows, self.rows)


def proven_change(
    fitted: Moments, held: Moments, known: Sequence[Tensor], ridges: Sequence[float], *, columns: int, normed: bool
) -> Tensor:
    """The change of the weights that lowers the error of ``held`` rows most: a regression, or one that is ``known``.

    The regressions see the ``fitted`` rows only, with ridges from the first on for as long as the next is clearly
    better; the ridge that wins is used on all rows. Of known changes as good as each other, the first. ``normed``:
    batch norm follows, and means don't count.

    Shape: known (groups, made, d) each → (groups, made, d)
    """
    if not (held.rows and fitted.rows):
        return known[0]
    judge = held.centred() if normed else held
    best = max(known, key=judge.gain)
    ridge, gain = best_ridge(fitted, judge, columns, ridges)
    return max((fitted + held).fit(columns, ridge), best, key=judge.gain) if gain > judge.gain(best) else best


def best_ridge(fitted: Moments, judge: Moments, columns: int, ridges: Sequence[float]) -> tuple[float, float]:
    """The first ridge that the next is hardly better than, and the gain of its regression on the rows of ``judge``."""
    best = ridges[0], judge.gain(fitted.fit(columns, ridges[0]))
    for ridge in ridges[1:]:
        gain = judge.gain(fitted.fit(columns, ridge))
        if not gain > best[1] + WORTH * abs(best[1]):
            break
        best = ridge, gain
    return best
