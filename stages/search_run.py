"""The stages of a run that searches the widths: dense network, search, memory bank, fine-tuning, test."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..models.files.architecture import architecture_of, save
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..pipeline.banks import Banks, bank_config
from ..pipeline.finetune import Tuning, tuned
from ..pipeline.outcomes import FrontFile, budget_mark, search_stage
from ..pipeline.session import Session
from ..reports.page import write
from ..rundir.config import RunConfig
from ..rundir.outcomes import (
    BankStage,
    EvaluationStage,
    NetworkStage,
    SearchStage,
    SpeedStage,
    TeacherRecord,
    TransferStage,
)
from ..rundir.results import Results
from ..search.coarse_to_fine import Searched
from ..search.config import SearchConfig
from ..transfer.bank.bank import MemoryBank
from ..transfer.bank.fill import BankConfig
from ..transfer.methods import METHODS
from ..transfer.training.distributed import world
from .common import dense_stage, evaluation_stage, restore_best, restore_teacher, restore_weights, teacher_stage
from .speed import speed_stage
from .stage import Stage


@dataclass(frozen=True, eq=False)
class SearchRun:
    """Widths are searched, the bank is filled, the winner fine-tuned from it, or by a teacher that is another network.

    The session's network gets its weights in the first stage and never changes after.
    """

    config: RunConfig
    session: Session
    search_config: SearchConfig
    teacher_net: Supernet | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, in order."""
        teacher = (Stage("teacher", self.teacher, self.restore_teacher),) if self.teacher_net else ()
        return (
            Stage("dense", self.dense, self.restore_dense),
            *teacher,
            Stage("search", self.search, shared=True),
            Stage("bank", self.bank),
            Stage("transfer", self.transfer),
            Stage("test", self.test, self.restore_best),
            Stage("speed", self.speed),
        )

    def dense(self) -> NetworkStage:
        """The dense network, trained where it has no weights."""
        return dense_stage(self.session, self.config)

    def restore_dense(self) -> None:
        """The weights that were trained here."""
        if not self.config.trained:
            restore_weights(self.session, self.session.net.model, "dense")
        self.session.net.model.eval()

    def teacher(self) -> NetworkStage:
        """The teacher that is another network."""
        return teacher_stage(self.session, self.config, self.teacher_net)

    def restore_teacher(self) -> None:
        """The teacher's weights that were trained here."""
        restore_teacher(self.session, self.config, self.teacher_net)

    @cached_property
    def searched(self) -> Searched:
        """The search's result; a run that resumes repeats no evaluation, so there it costs little."""
        return self.session.search(self.search_config)

    @property
    def winner(self) -> Subnetwork:
        """The subnetwork that is fine-tuned."""
        return self.searched.winner.subnetwork

    def search(self) -> SearchStage:
        """Coarse and fine; front.json and its picture."""
        found = self.searched
        mark = budget_mark(self.session.net, self.search_config.span)
        FrontFile(self.session.folder, self.session.net, self.config).write(found.winner, found.front, mark)
        write([Results.of(self.session.folder)], self.session.folder)
        return search_stage(found)

    @cached_property
    def banks(self) -> Banks:
        """The memory banks for points of the search, as the method reads them."""
        return Banks(self.session, self.searched, METHODS[self.config.transfer.method], self.config.transfer.views)

    def bank(self) -> BankStage:
        """What its teachers output for every training image: of those methods that need it filled before they train."""
        return self.banks.stage()

    @property
    def bank_config(self) -> BankConfig | None:
        """What the bank will hold."""
        wanted = self.config.transfer
        return bank_config(METHODS[wanted.method], wanted.views, bfloat16=self.session.bfloat16)

    def transfer(self) -> TransferStage:
        """Fine-tune the winner from the bank; what was lost of it since its stage was done is filled again."""
        folder = self.session.folder
        return self.tuned(self.winner, self.banks.winners, folder / "transfer", folder / "best")

    def tuned(self, subnetwork: Subnetwork, bank: MemoryBank | None, folder: Path, best: Path) -> TransferStage:
        """Fine-tune any subnetwork as configured, with checkpoints in ``folder``, and keep it in ``best``."""
        session, wanted = self.session, self.config.transfer
        method = METHODS[wanted.method]
        views = wanted.views if method.bank_teachers else 0
        how: dict[str, Any] = {"fixed_views": views, "identity": self._identity, **wanted.recipe_options}
        recipe = session.recipe(epochs=wanted.epochs, seed=self.config.seed, **how)
        model = session.initial_student(subnetwork)
        teacher = self.teacher_net.model.eval() if self.teacher_net else None
        student = tuned(session, Tuning(subnetwork, model, bank, recipe, folder, teacher), method.objective)
        if world().first:
            save(student, best)
        return _transfer_stage(architecture_of(student)["training"])

    def test(self) -> EvaluationStage:
        """Holdout and test figures of the dense, the pruned and the fine-tuned network, each once, and costs."""
        return self.tested(self.winner, self.session.folder / "best")

    def speed(self) -> SpeedStage:
        """The dense network and the fine-tuned one, timed in turn."""
        return speed_stage(self.session, self.config, self.session.folder / "best")

    def tested(self, subnetwork: Subnetwork, best: Path) -> EvaluationStage:
        """The same for any subnetwork that was kept in ``best``."""
        pruned = self.session.pruned(subnetwork)
        return evaluation_stage(self.session, self.config, subnetwork, pruned, best=best, teacher=self.teacher_net)

    def restore_best(self) -> None:
        """The network that came out, made again where it is damaged; its figures with it."""
        restore_best(self.session, lambda: (self.transfer(), self.test()))

    @property
    def _identity(self) -> dict[str, object]:
        """What a checkpoint of the fine-tuning is of, beside its recipe."""
        named = {"method": self.config.transfer.method, "teacher": self.config.joint.teacher}
        return {name: value for name, value in named.items() if value}


def _transfer_stage(training: dict[str, Any]) -> TransferStage:
    """What an architecture says about its training, as run.json has it."""
    teachers = tuple(TeacherRecord(**each) for each in training["teachers"])
    return TransferStage(**{**training, "gates_open": tuple(training["gates_open"]), "teachers": teachers})
