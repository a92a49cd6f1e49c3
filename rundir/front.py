"""The front that a search left: front.json, read back."""

from ..models.score import Score
from .outcomes import Costs, Count, Record


class DenseAndKept(Record, frozen=True, kw_only=True):
    """Costs of the dense network, and of the subnetwork."""

    dense: Costs
    kept: Costs


class HoldoutScore(Record, frozen=True, kw_only=True):
    """How a point was scored, before fine-tuning."""

    holdout: Score


class Source(Record, frozen=True, kw_only=True):
    """Which part of the search proposed a point."""

    source: str


class Width(Record, frozen=True, kw_only=True):
    """How many channels of a group stay."""

    width: Count
    dense: Count


class FrontPoint(Record, frozen=True, kw_only=True):
    """A point of the front: of its architecture, what is shown."""

    costs: DenseAndKept
    figures: HoldoutScore
    provenance: Source
    groups: dict[str, Width]
    frozen: dict[str, str]

    @property
    def score(self) -> Score:
        """Its score on the holdout, before fine-tuning."""
        return self.figures.holdout


class BudgetMark(Record, frozen=True, kw_only=True):
    """Where on the axis of MACs the budget lies, and what is there."""

    macs: Count
    mark: str


class Front(Record, frozen=True, kw_only=True):
    """front.json: the winner, scored on the whole holdout, and the points of the front, scored on the sample."""

    budget: BudgetMark
    winner: FrontPoint
    points: tuple[FrontPoint, ...]


class ReusedCosts(Costs, frozen=True, kw_only=True):
    """A found architecture on another network: its costs there, the network it was found on, and every width.

    ``exact``: it is the very network it was found on, and the very channels stay.
    """

    dense: Costs
    exact: bool
    found_on: str
    widths: dict[str, int]
