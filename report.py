"""Pictures of a search."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(Protocol):
    """A subnetwork on a Pareto plot."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""

    @property
    def loss(self) -> float:
        """Mean holdout cross-entropy, nats."""


def pareto(front: Sequence[Point], dense_macs: int, budget_macs: int, winner: Point) -> "Figure":
    """Holdout loss over MACs of the interim subnetworks that no other beats, before any fine-tuning."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    macs, losses = [p.macs / 1e6 for p in front], [p.loss for p in front]
    axes.step(macs, losses, where="post", color="#0072B2", lw=1.5, zorder=2)
    axes.scatter(macs, losses, s=28, color="#0072B2", zorder=3, label="front, before fine-tuning")
    axes.scatter([winner.macs / 1e6], [winner.loss], s=130, marker="*", color="#D55E00", zorder=4, label="winner")
    axes.axvline(budget_macs / 1e6, color="#555555", ls="--", lw=1, label=f"budget, {budget_macs / 1e6:.4g}M")
    axes.axvline(dense_macs / 1e6, color="#555555", ls=":", lw=1, label=f"dense, {dense_macs / 1e6:.4g}M")
    axes.set(xlabel="MACs of one image, millions", ylabel="holdout loss, nats")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure
