"""The stages of a run whose student learns its widths while it is distilled."""

from dataclasses import dataclass
from functools import cached_property

import msgspec
from torch import nn

from ..models.evaluate import evaluate, recalibrate_as_trained
from ..models.files.architecture import architecture_of, save
from ..models.supernet import Supernet
from ..pipeline.joint import finish
from ..pipeline.outcomes import FrontFile
from ..pipeline.session import Session
from ..progress import follow
from ..rundir.config import RunConfig
from ..rundir.outcomes import EvaluationStage, LearnStage, NetworkStage, TransferStage
from ..search.records import Interim, Records
from ..transfer.joint.learner import Learner
from ..transfer.joint.methods import Blockwise, JointMethod, Kddp, Pdd
from ..transfer.joint.train import Training, learn_widths, widths_by_epoch
from ..transfer.training.recipe import Recipe
from .common import dense_stage, evaluation_stage, figures, restore_weights, train_from_scratch
from .stage import Stage


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
            Stage("test", self.test),
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
        if self.teacher_net is None or self.config.teacher_trained:
            return NetworkStage(weights=self.config.teacher_trained or "the dense network's")
        return train_from_scratch(self.session, self.teacher_net.model, "teacher", self.config.seed)

    def restore_teacher(self) -> None:
        """The teacher's weights that were trained here."""
        if self.teacher_net and not self.config.teacher_trained:
            restore_weights(self.session, self.teacher_net.model, "teacher")

    @cached_property
    def training(self) -> Training:
        """Both halves."""
        config = self.config
        return Training(config.transfer.epochs, config.seed, config.precision, self.session.folder)

    @cached_property
    def recipes(self) -> tuple[Recipe, Recipe]:
        """Of the two halves."""
        return self.training.recipes(self.session.net)

    @property
    def method(self) -> JointMethod:
        """The configured method, with its options."""
        joint, limits = self.config.joint, self.config.budget
        if self.config.transfer.method == "pdd":
            return Pdd(limits.flops, limits.params)
        if self.config.transfer.method == "kddp":
            return Kddp(joint.strength, joint.neurons)
        return Blockwise(joint.strength, joint.strengths, joint.constraint, joint.blocks)

    def make_learner(self) -> Learner:
        """A learner that has learned nothing yet."""
        teacher = self.teacher_net.model.eval() if self.teacher_net else None
        return self.method.learner(self.session.net, teacher, self.session.data.train, self.recipes[0])

    @cached_property
    def learner(self) -> Learner:
        """The student after the first half; a run that resumes there repeats little."""
        learner, split, folder = self.make_learner(), self.session.data.train, self.training.learn_folder
        follow(learn_widths(learner, split, self.recipes[0], folder=folder), self.session.progress)
        return learner

    def learn(self) -> LearnStage:
        """The first half; front.json with its one point, and the dense network beside it."""
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
        return LearnStage(form=self.learner.description, widths=widths)

    def transfer(self) -> TransferStage:
        """The second half."""
        session, method = self.session, self.config.transfer.method
        student = finish(session, self.learner, self.recipes[1], method=method, folder=self.training.transfer_folder)
        save(student, session.folder / "best")
        training = architecture_of(student)["training"]
        return TransferStage(**{**training, "gates_open": tuple(training["gates_open"])})

    def pruned(self) -> nn.Module:
        """The student as it was after the first half."""
        model = self.learner.slimmed()
        recalibrate_as_trained(model, self.session.data.train)
        return model

    def test(self) -> EvaluationStage:
        """As after a search, and the teacher's figures where it is another network."""
        session = self.session
        found = evaluation_stage(
            session, self.config, self.learner.subnetwork(), self.pruned(), best=session.folder / "best"
        )
        if self.teacher_net is None:
            return found
        teacher = figures(session, self.teacher_net.model, self.teacher_net, self.teacher_net.dense)
        return msgspec.structs.replace(found, teacher=teacher)
