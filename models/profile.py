"""What a budget means for a network, before anything is searched."""

from collections.abc import Sequence
from dataclasses import dataclass

from .atoms import IntArray
from .budget import Budget, Space, reachable
from .cost import macs_share
from .groups import ChannelGroup


@dataclass(frozen=True)
class Line:
    """One channel group: its width, how many tensors it spans, its share of the dense MACs, why it is frozen."""

    name: str
    width: int
    members: int
    share: float
    frozen: str | None


@dataclass(frozen=True)
class Profile:
    """The groups of a network, the MACs from the least widths to dense, and whether a budget can be met.

    Shares overlap: a convolution between two groups counts in both.
    """

    lines: tuple[Line, ...]
    budget_macs: int
    least_macs: int
    dense_macs: int
    dense_parameters: int

    @property
    def satisfiable(self) -> bool:
        """Whether the least widths cost no more than the budget."""
        return self.least_macs <= self.budget_macs

    def __str__(self) -> str:
        rows = [f"{'channel group':<44}{'width':>6}{'tensors':>9}{'MACs':>8}"]
        for line in self.lines:
            rows.append(f"{line.name[-43:]:<44}{line.width:>6}{line.members:>9}{line.share:>8.1%}")
            if line.frozen:
                rows[-1] += f"  frozen: {line.frozen}"
        met = "can be met" if self.satisfiable else "can NOT be met"
        rows.append(
            f"dense {self.dense_macs / 1e6:.2f}M MACs, {self.dense_parameters / 1e6:.3f}M parameters; least "
            f"{self.least_macs / 1e6:.2f}M MACs ({self.least_macs / self.dense_macs:.1%}); "
            f"budget {self.budget_macs / 1e6:.2f}M MACs {met}"
        )
        return "\n".join(rows)


def profile(groups: Sequence[ChannelGroup], frozen: Sequence[ChannelGroup], space: Space, budget: str) -> Profile:
    """Profile of a network at a budget such as ``50%`` or ``62M``."""
    least, dense = reachable(space)
    lines = tuple(_line(group, space, space.dense) for group in (*groups, *frozen))
    return Profile(lines, Budget.parse(budget, dense).macs, least, dense, int(space.costs.parameters(space.dense)))


def _line(group: ChannelGroup, space: Space, dense: IntArray) -> Line:
    tensors = {member.tensor for member in group.members}
    return Line(group.name, group.width, len(group.members), macs_share(space.costs, dense, tensors), group.frozen)
