"""What a search found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SecateurError
from ..models.costs.budget import Budget
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..reports.inline import front_and_widths
from ..reports.pareto import pareto
from ..search.records import Interim
from ..signatures import checked
from ..transfer.bank.bank import MemoryBank

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Found:
    """What a search found: the winner at the budget, the front over all costs, and the memory bank.

    ``folder`` is the run directory, which ``sc.pareto``, ``sc.report`` and commands read. ``coarse_best`` is the best
    proposal of the coarse search at the budget, on the sample that scores trials. ``bank`` is None where the task
    does not say how outputs are compared.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> found = sc.find(net, data, "30%..60%", trials=1, views=0)
    >>> net.macs(found.best("40%")) <= 0.4 * net.macs(net.dense)
    True
    """

    net: Supernet
    winner: Interim
    coarse_best: Interim
    front: tuple[Interim, ...]
    bank: MemoryBank | None
    folder: Path

    def __repr__(self) -> str:
        kept = self.winner.macs / self.net.macs(self.net.dense)
        return f"Found(macs={self.winner.macs}, keep={kept:.1%}, loss={self.winner.loss:.4f}, front={len(self.front)})"

    def _repr_html_(self) -> str:
        """The front and the winner's widths, in a notebook."""
        return front_and_widths(self.folder)

    @checked
    def best(self, budget: str | Budget | None = None) -> Subnetwork:
        """The winner; or the point of the front with the lowest holdout loss that meets ``budget``."""
        return (self.winner if budget is None else best_under(self.net, self.front, budget)).subnetwork

    @checked
    def pareto(self, measure: str = "loss") -> "Figure":
        """The front and all evaluations as a plot, to be shown or saved; ``measure`` as of ``sc.pareto``."""
        return pareto(self.folder, measure=measure)


def best_under(net: Supernet, front: Sequence[Interim], budget: str | Budget) -> Interim:
    """The point of a front with the lowest holdout loss that meets ``budget``. SecateurError where none does."""
    limit = net.limits(budget) if isinstance(budget, str) else budget
    affordable = [point for point in front if limit.holds(net.space.costs, point.subnetwork.widths)]
    if not affordable:
        least = min(point.macs for point in front)
        raise SecateurError(
            f"no point of the front costs at most {limit}, the smallest {least / 1e6:.4g}M MACs; "
            "pass a higher budget or search at this one"
        )
    return min(affordable, key=lambda point: point.loss)
