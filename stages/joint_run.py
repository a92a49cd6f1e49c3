"""The stages of a run whose student learns its widths while it is distilled."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from ..models.evaluate import evaluate, recalibrate_as_trained
from ..models.files.architecture import architecture_of, save
from ..models.supernet import Supernet
from ..pipeline.joint import finish, method_of
from ..pipeline.outcomes import FrontFile
from ..pipeline.session import Session
from ..progress import follow
from ..rundir.config import RunConfig
from ..rundir.outcomes import EvaluationStage, LearnStage, NetworkStage, SpeedStage, TransferStage
from ..search.records import Interim, Records
from ..transfer.joint.learner import Learner
from ..transfer.joint.methods import Assignment, JointMethod
from ..transfer.joint.train import Training, learn_widths, widths_by_epoch
from ..transfer.training.recipe import Recipe
from .common import dense_stage, evaluation_stage, restore_best, restore_teacher, restore_weights, teacher_stage
from .speed import speed_stage
from .stage import Stage


def headline(config: RunConfig) -> str:
    """What the run will do; empty for a search, whose progress says it.

    >>> from secateur.rundir.config import ask
    >>> headline(ask(method="blockwise", params="20%"))[:62]
    'blockwise: for half of the epochs batch-norm scales are thresh'
    """
    return f"{config.transfer.method}: {method_of(config).plan}" if config.learns_widths else ""


@dataclass(frozen=True, eq=False)
class JointRun:
    """Widths are learned by a student under a teacher: another network (``teacher_net``), or the dense one."""

    config: RunConfig
    session: Session
    teacher_net: Supernet | None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, in order."""
        return (
            Stage("dense", self.dense, self.restore_dense),
            Stage("teacher", self.teacher, self.restore_teacher),
            Stage("learn", self.learn),
            Stage("transfer", self.transfer),
            Stage("test", self.test, self.restore_best),
            Stage("speed", self.speed),
        )

    def dense(self) -> NetworkStage:
        """The dense network; under another teacher a student without weights starts from scratch."""
        if self.config.joint.teacher and not self.config.trained:
            return NetworkStage(weights="none")
        return dense_stage(self.session, self.config)

    def restore_dense(self) -> None:
        """The weights that were trained here."""
        if not self.config.trained and not self.config.joint.teacher:
            restore_weights(self.session, self.session.net.model, "dense")
        self.session.net.model.eval()

    def teacher(self) -> NetworkStage:
        """The teacher; digits needs no weights for it, either."""
        return teacher_stage(self.session, self.config, self.teacher_net)

    def restore_teacher(self) -> None:
        """The teacher's weights that were trained here."""
        restore_teacher(self.session, self.config, self.teacher_net)

    @cached_property
    def training(self) -> Training:
        """Both parts."""
        config, session = self.config, self.session
        recipe, learning = session.recipe(**config.transfer.recipe_options), self.method.learning
        how: dict[str, Any] = {"recipe": recipe, "learning": learning}
        return Training(config.transfer.epochs, config.seed, config.precision, session.folder, **how)

    @cached_property
    def recipes(self) -> tuple[Recipe, Recipe]:
        """Of the two parts."""
        return self.training.recipes(self.session.net)

    @property
    def method(self) -> JointMethod:
        """The configured method, with its options."""
        return method_of(self.config)

    def make_learner(self) -> Learner:
        """A learner that has learned nothing yet."""
        net, data = self.session.net, self.session.data
        teacher = self.teacher_net.model.eval() if self.teacher_net else net.model
        return self.method.learner(Assignment(net, teacher, data.train, self.recipes[0], data.holdout))

    @cached_property
    def learner(self) -> Learner:
        """The student after the first part; a run that resumes there repeats little."""
        learner, data, folder = self.make_learner(), self.session.data, self.training.learn_folder
        work = learn_widths(learner, data.train, self.recipes[0], folder=folder, holdout=data.holdout)
        follow(work, self.session.progress)
        return learner

    def learn(self) -> LearnStage:
        """The first part; front.json with its one point, and the dense network beside it."""
        session, kept, method = self.session, self.learner.subnetwork(), self.config.transfer.method
        scored = evaluate(self.pruned(), session.data.holdout)
        costs = session.net.macs(kept), session.net.parameters(kept)
        found = Interim(kept, method, scored.loss, scored.accuracy, scored.n, *costs, metric=scored.metric)
        front = FrontFile(session.folder, session.net, self.config)
        front.write(found, [found], {"macs": found.macs, "mark": f"found by {method}"})
        (session.folder / "bank").mkdir(exist_ok=True)
        records = Records(session.net, session.data.holdout, session.folder / "bank" / "records.jsonl")
        records.evaluate(session.net.dense, "dense", len(session.data.holdout))  # what the point is compared with
        widths = tuple(map(tuple, widths_by_epoch(session.folder / "learn")))
        dense = tuple(session.net.dense.widths.tolist())
        return LearnStage(form=self.learner.description, widths=widths, dense=dense)

    def transfer(self) -> TransferStage:
        """The second part."""
        session, method = self.session, self.config.transfer.method
        student = finish(session, self.learner, self.recipes[1], method=method, folder=self.training.transfer_folder)
        save(student, session.folder / "best")
        training = architecture_of(student)["training"]
        return TransferStage(**{**training, "gates_open": tuple(training["gates_open"])})

    def pruned(self) -> nn.Module:
        """The student as it was after the first part."""
        model = self.learner.slimmed()
        recalibrate_as_trained(model, self.session.data.train)
        return model

    def test(self) -> EvaluationStage:
        """As after a search, and the teacher's figures where it is another network."""
        session = self.session
        kept, best = self.learner.subnetwork(), session.folder / "best"
        return evaluation_stage(session, self.config, kept, self.pruned(), best=best, teacher=self.teacher_net)

    def speed(self) -> SpeedStage:
        """The dense network and the fine-tuned one, timed in turn."""
        return speed_stage(self.session, self.config, self.session.folder / "best")

    def restore_best(self) -> None:
        """The network that came out, made again where it is damaged; its figures with it."""
        restore_best(self.session, lambda: (self.transfer(), self.test()))
