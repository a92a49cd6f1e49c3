"""What the stages of a run do where a student learns its widths while it is distilled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from safetensors.torch import load_model
from torch import nn

from ..models.evaluate import evaluate, recalibrate_as_trained
from ..models.files.architecture import architecture_of, save
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..pipeline import finish
from ..progress import follow
from ..rundir.manifest import Outcome
from ..search.records import Interim, Records
from ..transfer.joint.learner import Learner
from ..transfer.joint.methods import Blockwise, JointMethod, Kddp, Pdd
from ..transfer.joint.train import Training, learn_widths, widths_by_epoch
from ..transfer.training.recipe import Recipe
from .search_run import Session, write_front


@dataclass(frozen=True)
class JointRun(Session):
    """Widths are learnt by a student under a teacher, who is another network (``taught_by``) or the dense one."""

    teacher_net: Supernet | None

    @property
    def stages(self) -> Sequence[Callable[[], Outcome]]:
        """All stages, in order."""
        return self.dense, self.teacher, self.learn, self.transfer, self.test

    def take_up(self, stage: str) -> None:
        """Load what a stage left for the others."""
        super().restore(stage)
        if self.teacher_net and stage == "teacher" and not self.ask.teacher_weights:
            load_model(self.teacher_net.model, str(self.out / "teacher" / "weights.safetensors"))

    def dense(self) -> Outcome:
        """As ever; but under a teacher a student without weights starts anew."""
        return {"weights": "none"} if self.ask.teacher and not self.ask.weights else super().dense()

    def teacher(self) -> Outcome:
        """Digits needs no weights for it, either."""
        if self.teacher_net is None or self.ask.teacher_weights:
            return {"weights": self.ask.teacher_weights or "the dense network's"}
        return self.trained(self.teacher_net.model, "teacher")

    @cached_property
    def training(self) -> Training:
        """Both halves."""
        return Training(self.ask.epochs, self.ask.seed, self.ask.precision, self.out)

    @cached_property
    def recipes(self) -> tuple[Recipe, Recipe]:
        """Of the two halves."""
        return self.training.recipes(self.net)

    @property
    def method(self) -> JointMethod:
        """The method that is asked for, with its options."""
        ask = self.ask
        if ask.method == "pdd":
            return Pdd(ask.flops, ask.params)
        if ask.method == "kddp":
            return Kddp(ask.strength, ask.neurons)
        return Blockwise(ask.strength, ask.strengths, ask.constraint, ask.blocks)

    def make(self) -> Learner:
        """A learner that has learnt nothing yet."""
        teacher = self.teacher_net.model.eval() if self.teacher_net else None
        return self.method.learner(self.net, teacher, self.data.train, self.recipes[0])

    @cached_property
    def learner(self) -> Learner:
        """The student after the first half; a checkpoint that is there makes this cheap."""
        learner, folder = self.make(), self.training.learn_folder
        follow(learn_widths(learner, self.data.train, self.recipes[0], folder=folder), self.progress)
        return learner

    def learn(self) -> Outcome:
        """The first half; front.json with its one point, and the dense network beside it."""
        kept = self.learner.kept()
        point = self.pruned(kept)
        scored, costs = evaluate(point, self.data.holdout), (self.net.macs(kept), self.net.parameters(kept))
        found = Interim(kept, self.ask.method, scored.loss, scored.accuracy, scored.n, *costs)
        write_front(
            self.out, self.net, found, [found], self.ask, {"macs": found.macs, "mark": f"found by {self.ask.method}"}
        )
        (self.out / "bank").mkdir(exist_ok=True)
        records = Records(self.net, self.data.holdout, self.out / "bank" / "records.jsonl")
        records.evaluate(self.net.dense, "dense", len(self.data.holdout))  # what the point is compared with
        return {"form": self.learner.description, "widths": widths_by_epoch(self.out / "learn")}

    def transfer(self) -> Outcome:
        """The second half."""
        method, folder = self.ask.method, self.training.transfer_folder
        net, data, recipe = self.net, self.data, self.recipes[1]
        student = finish(net, data, self.learner, recipe, method=method, folder=folder, progress=self.progress)
        save(student, self.out / "best")
        return dict(architecture_of(student)["training"])

    def pruned(self, subnetwork: Subnetwork) -> nn.Module:
        """The student as it was after the first half."""
        model = self.learner.slimmed()
        recalibrate_as_trained(model, self.data.train)
        return model

    def test(self) -> Outcome:
        """As after a search, and the teacher's figures where it is another network."""
        outcome = self.tested(self.learner.kept(), self.out / "best")
        if self.teacher_net:
            outcome["teacher"] = self.figures(self.teacher_net.model, self.teacher_net, self.teacher_net.dense)
        return outcome
