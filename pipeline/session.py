"""A session: one network on one data set, and what search, bank and training of it share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from ..data.dataset import Data
from ..models.compensation.gram import Gram, grams
from ..models.compensation.initial import initial_student
from ..models.compensation.sequential import refit_sequentially
from ..models.evaluate import recalibrate, recalibrate_as_trained
from ..models.files.architecture import architecture, with_architecture
from ..models.precision import in_bfloat16
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.tasks.classification import Classification
from ..progress import Observer, Progress, follow, silent
from ..search.coarse_to_fine import Searched, search_widths
from ..search.config import SearchConfig
from ..search.evaluation import Evaluation, task_loss
from ..search.records import Records
from ..transfer.bank.bank import MemoryBank, damaged_files, open_bank, remove_leftovers
from ..transfer.bank.fill import BankConfig, fill_bank
from ..transfer.bank.growing import TeacherSetting, growing_bank
from ..transfer.bank.manifest import BankLocation, BankManifest, Teacher, manifest_name, mix_name
from ..transfer.bank.teachers import choose_teachers
from ..transfer.bank.worth import Worth, answers, judge
from ..transfer.methods import MethodContext, embedding_width
from ..transfer.objectives.base import Objective
from ..transfer.training.recipe import Recipe
from ..transfer.training.train import Step, train
from .fit import OutputSize, class_numbers, output_size


@dataclass(frozen=True, eq=False)
class Session:
    """What search, bank and training of one network on one data set share; the network is never changed.

    ``folder`` keeps what they leave; ``progress`` may be an ``Observer``. ``precision`` is that of evaluations,
    teachers and training, a name from ``secateur.models.precision``. The second moments of the dense network's layers
    are gathered once, when they are first needed.
    """

    net: Supernet
    images: Data
    folder: Path
    precision: str = "auto"
    progress: Progress = field(default=silent, repr=False)

    @cached_property
    def data(self) -> Data:
        """The images in the memory format that the network runs fastest in."""
        return self.images.in_memory_format_of(self.net.model)

    @cached_property
    def bfloat16(self) -> bool:
        """Whether evaluations, teachers and training run in bfloat16."""
        return in_bfloat16(self.precision, self.net)

    @cached_property
    def outputs(self) -> OutputSize:
        """The size of what the network returns for a sample."""
        return output_size(self.net, self.data)

    @cached_property
    def grams(self) -> dict[str, Gram]:
        """Second moments of what each layer of the dense network reads on training images."""
        return grams(self.net, self.data.train)

    def search(self, config: SearchConfig, evaluation: Evaluation = task_loss) -> Searched:
        """Search the widths on the holdout; evaluations go to bank/records.jsonl, and a repeated one costs nothing."""
        (self.folder / "bank").mkdir(parents=True, exist_ok=True)
        path = self.folder / "bank" / "records.jsonl"
        how: dict[str, Any] = {"grams": self.grams, "bfloat16": self.bfloat16, "evaluation": evaluation}
        records = Records(self.net, self.data.holdout, path, **how)
        return follow(search_widths(records, config, self.folder), self.progress)

    def fill_bank(self, searched: Searched, point: Subnetwork, config: BankConfig) -> MemoryBank | None:
        """The memory bank for a point of a search, in ``folder``/bank; what it lacks is added.

        None where the task does not say how outputs are compared. The winner's is listed in bank.json; another point
        has a list of its own, and shares the teachers it can.
        """
        net, data = self.net, self.data
        if data.task.divergence is None:
            return None
        config = self._stored_as(config)
        teachers = choose_teachers(searched.interims, net.dense, point)[: config.teachers]
        width = embedding_width(net.model, net.head, self.outputs.channels)
        size = config.bytes(len(data.train), self.outputs.numbers, width, len(teachers))
        fewer = f", {len(teachers)} teacher{'s' * (len(teachers) != 1)}" if len(teachers) < config.teachers else ""
        listed = manifest_name(point, searched.winner.subnetwork)
        total = len(teachers) * (1 + config.views) * len(data.train)
        location = BankLocation(self.folder / "bank", data.fingerprint, listed)
        self._drop_damaged(location.folder)
        for done in fill_bank(net, teachers, data.train, location, grams=self.grams, config=config):
            self.progress(f"memory bank, {size / 1e6:.3g} MB{fewer}", done, total)
        return open_bank(location, len(data.train))

    def growing_bank(
        self, point: Subnetwork, config: BankConfig, choose: Callable[[], Sequence[Teacher]]
    ) -> MemoryBank | None:
        """A bank in ``folder``/bank that training fills, as far as it is filled, for a point of a search.

        ``choose`` returns its teachers, the dense network first; once chosen, they stay. None where the task does not
        say how outputs are compared.
        """
        data = self.data
        if data.task.divergence is None:
            return None
        location = BankLocation(self.folder / "bank", data.fingerprint, mix_name(point))
        self._drop_damaged(location.folder)
        teachers = BankManifest.read(location).teachers if location.path.exists() else choose()
        setting = TeacherSetting(self.net, data.train, self.grams, self._stored_as(config))
        return growing_bank(teachers, location, setting)

    def judged(self, searched: Searched, point: Subnetwork) -> list[tuple[Teacher, Worth]]:
        """The candidates for teachers of a point, the dense network first, and what each adds on the holdout.

        They are judged on the images that score a trial, with batch norm as it was there.
        """
        net, split = self.net, self.data.holdout
        teachers = choose_teachers(searched.interims, net.dense, point)
        if split.labels is None:
            return [(teachers[0], Worth(loss=teachers[0].loss, gain=0.0, error=0.0, taken=True))]
        found = [answers(net, teacher.subnetwork, self.grams, split) for teacher in teachers]
        return list(zip(teachers, judge([logits for logits, _ in found], found[0][1]).worths, strict=True))

    def _stored_as(self, config: BankConfig) -> BankConfig:
        """The same for what the task's outputs are."""
        return replace(config, class_logits=isinstance(self.data.task, Classification))

    def _drop_damaged(self, folder: Path) -> None:
        """Delete files of the bank that are damaged; they are filled again."""
        remove_leftovers(folder)
        for path in damaged_files(folder):
            path.unlink()
            self.progress(f"filling {path.name} again, which is damaged", 0, 1)

    def pruned(self, subnetwork: Subnetwork) -> nn.Module:
        """The best that is known without training: compensated in sequence, batch norm recalibrated."""
        model = refit_sequentially(self.net, subnetwork, self.grams, self.data.train)
        recalibrate(model, self.data.train)
        return model

    def initial_student(self, subnetwork: Subnetwork) -> nn.Module:
        """Where fine-tuning starts: halfway from inherited to compensated weights."""
        return initial_student(self.net, subnetwork, self.grams, self.data.train)

    def context(
        self,
        student: nn.Module,
        subnetwork: Subnetwork,
        *,
        bank: MemoryBank | None,
        seed: int,
        teacher: nn.Module | None = None,
    ) -> MethodContext:
        """What a fine-tuning method may use for this student, which keeps the channels of ``subnetwork``.

        ``teacher``: instead of the dense network.
        """
        channels, task = self.outputs.channels, self.data.task
        width, labels = embedding_width(student, self.net.head, channels), class_numbers(self.data.train)
        return MethodContext(self.net, bank, labels, channels, width, seed, task, teacher, subnetwork)

    def train(self, model: nn.Module, objective: Objective, recipe: Recipe, *, folder: Path | None, what: str) -> None:
        """Train a network in place, with checkpoints in ``folder``, reporting its steps as ``what``."""
        how: dict[str, Any] = {"head": self.net.head, "folder": folder, "holdout": self.data.holdout}
        self.follow(train(model, self.data.train, objective, recipe, **how), what)

    def follow(self, steps: Iterable[Step], what: str) -> None:
        """Take all steps of a training, and report them and its epochs as ``what``."""
        observer, done = Observer.of(self.progress), 0
        for step in steps:
            if step.step <= done:
                observer(f"{what}: the loss was not finite, back at step {step.step} and slower", 0, 1)
            done = step.step
            observer(what, step.step, step.steps)
            if step.ended:
                observer.on_epoch(replace(step.ended, training=what))

    def finalise(self, model: nn.Module, subnetwork: Subnetwork, training: Mapping[str, Any]) -> nn.Module:
        """A trained network, its batch norm recalibrated, carrying its architecture, in evaluation mode."""
        recalibrate_as_trained(model, self.data.train)
        about = {"training": training, **self.about}
        return with_architecture(model, architecture(self.net, subnetwork, **about)).eval()

    @property
    def about(self) -> dict[str, Any]:
        """What an architecture says about the data: how they are normalised, and their classes."""
        train, classes = self.data.train, {"classes": list(self.data.classes)}
        if train.normalisation is None:
            return classes
        mean, std = map(list, train.normalisation)
        return {"normalisation": {"mean": mean, "std": std}, **classes}

    def recipe(self, **changes: Any) -> Recipe:
        """The usual recipe for these training images, in this session's precision."""
        return Recipe.fitted(len(self.data.train), bfloat16=self.bfloat16, **changes)
