"""What a search leaves in its folder beside evaluations and bank: the front, and its outcome for run.json."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files import write_json
from ..models.costs.budget_range import BudgetRange
from ..models.costs.widths import uniform_widths
from ..models.files.architecture import architecture
from ..models.files.library import FORMAT
from ..models.files.schema import Record
from ..models.supernet import Supernet
from ..rundir.config import RunConfig
from ..rundir.outcomes import BankStage, CandidateRecord, InterimRecord, SearchStage, TeacherRecord
from ..search.coarse_to_fine import Searched
from ..search.records import Interim
from ..transfer.bank.bank import MemoryBank
from ..transfer.bank.manifest import Teacher
from ..transfer.bank.worth import Worth


@dataclass(frozen=True, eq=False)
class FrontFile:
    """front.json of a run: whole architectures of this network."""

    folder: Path
    net: Supernet
    config: RunConfig

    def write(self, winner: Interim, points: Sequence[Interim], budget: dict[str, Any]) -> None:
        """The winner (scored on the whole holdout) and the points of the front (on the sample)."""
        front = {"winner": self._whole(winner), "points": [self._whole(point) for point in points]}
        write_json(self.folder / "front.json", {"format": FORMAT, "budget": budget, **front}, indent=None)

    def _whole(self, point: Interim) -> Record:
        config = self.config
        source = {"model": config.model, "data": config.images.data, "seed": config.seed, "source": point.source}
        scores = {"holdout": point.score.to_dict()}
        return architecture(self.net, point.subnetwork, figures=scores, provenance=source)


def budget_mark(net: Supernet, span: BudgetRange) -> dict[str, Any]:
    """Where on the axis of MACs the budget lies; ``mark`` says what is there."""
    low = span.low
    if "macs" in low.limits:
        return {"macs": low.macs, "mark": "budget" if span.is_single else "smallest budget"}
    macs = int(net.space.costs.macs(uniform_widths(net.space, low)))  # other costs have limits
    return {"macs": macs, "mark": "uniform widths at the budget"}


def search_stage(found: Searched) -> SearchStage:
    """The outcome of a search."""
    winner, start = (InterimRecord.of(each.to_dict()) for each in (found.winner, found.coarse_best))
    count, stopped = len(found.interims) + len(found.stopped), len(found.stopped)
    return SearchStage(winner=winner, start=start, evaluations=count, stopped=stopped)


def bank_stage(bank: MemoryBank | None, wanted: int, judged: Sequence[tuple[Teacher, Worth]] = ()) -> BankStage:
    """The teachers of a bank, of so many that were wanted; none where the task can't compare outputs.

    ``judged``: the candidates of a bank that fills itself.
    """
    if bank is None:
        return BankStage(teachers=(), missing=0)
    listed = tuple(TeacherRecord(macs=teacher.macs, loss=teacher.loss) for teacher in bank.teachers)
    found = tuple(CandidateRecord(macs=teacher.macs, **asdict(worth)) for teacher, worth in judged)
    return BankStage(teachers=listed, missing=max(0, wanted - len(listed)), candidates=found or None)
