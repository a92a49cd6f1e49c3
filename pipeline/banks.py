"""The memory banks of a search's points, as a method of fine-tuning reads them."""

from dataclasses import dataclass
from functools import cached_property, partial

from ..models.subnetwork import Subnetwork
from ..rundir.outcomes import BankStage
from ..search.coarse_to_fine import Searched
from ..transfer.bank.bank import MemoryBank
from ..transfer.bank.fill import BankConfig
from ..transfer.bank.manifest import Teacher
from ..transfer.bank.worth import Worth
from ..transfer.methods import Method
from .outcomes import bank_stage
from .session import Session


def bank_config(method: Method, views: int, *, bfloat16: bool) -> BankConfig | None:
    """What a bank for a method holds; None where the method reads none."""
    if not method.bank_teachers or (method.online and not views):
        return None
    return BankConfig(views, bfloat16=bfloat16, teachers=method.bank_teachers)


@dataclass(frozen=True, eq=False)
class Banks:
    """The banks for points of a search, in the folder of the session.

    One of the dense network, and of what is worth being a teacher beside it, is opened as far as it is filled, and
    training fills it; others are filled here.
    """

    session: Session
    searched: Searched
    method: Method
    views: int

    @property
    def config(self) -> BankConfig | None:
        """What the banks hold; None where the method reads none."""
        return bank_config(self.method, self.views, bfloat16=self.session.bfloat16)

    def of(self, point: Subnetwork) -> MemoryBank | None:
        """The bank for a point, with what it lacked; None, too, where the task can't compare outputs."""
        if self.config is None:
            return None
        if self._grow:
            return self.session.growing_bank(point, self.config, partial(self._worthy, point))
        return self.session.fill_bank(self.searched, point, self.config)

    @cached_property
    def winners(self) -> MemoryBank | None:
        """The bank for the winner."""
        return self.of(self._winner)

    def prefill(self) -> None:
        """Store all that training would add to the winner's bank."""
        if self.winners and self.winners.source:
            split = self.session.data.train
            for done in self.winners.source.fill_all(split):
                self.session.progress("memory bank", done, self.views * len(split))

    def stage(self) -> BankStage:
        """The teachers of the winner's bank: as many as the method has, or lie between dense and winner."""
        wanted = self.config.teachers if self.config else 0
        return bank_stage(self.winners, wanted, self._judged if self.winners and self._grow else ())

    @property
    def _winner(self) -> Subnetwork:
        return self.searched.winner.subnetwork

    @property
    def _grow(self) -> bool:
        """Whether training fills them."""
        return self.method.grows and self.views > 0

    @cached_property
    def _judged(self) -> list[tuple[Teacher, Worth]]:
        """The candidates for the winner's teachers, and their worth."""
        return self.session.judged(self.searched, self._winner)

    def _worthy(self, point: Subnetwork) -> list[Teacher]:
        """The dense network, and those of a point's candidates that are worth being teachers beside it."""
        judged = self._judged if point == self._winner else self.session.judged(self.searched, point)
        return [teacher for teacher, worth in judged if worth.taken]
