"""What the stages of a run do, and what they share: the search, the memory bank, fine-tuning, the test."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_model, save_model
from torch import nn

from ..data.dataset import Data
from ..models.compensation.gram import Gram, grams
from ..models.compensation.halfway import initial_student
from ..models.compensation.sequential import refit_sequentially
from ..models.costs.budget import uniform_widths
from ..models.evaluate import device_of, evaluate, recalibrate
from ..models.files.architecture import Architecture, architecture, architecture_of, load, save, with_architecture
from ..models.files.library import FORMAT
from ..models.precision import in_bfloat16
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.zoo.registry import constructor
from ..pipeline import bank_for, finetune, search_under
from ..progress import Progress
from ..reports.page import write
from ..rundir.config import RunConfig
from ..rundir.manifest import Outcome
from ..rundir.results import Results
from ..search.coarse_to_fine import Searched, SearchPlan
from ..search.records import Interim
from ..transfer.bank.bank import TEACHERS, MemoryBank, open_bank
from ..transfer.bank.fill import BankConfig
from ..transfer.bank.manifest import MANIFEST, BankLocation
from ..transfer.methods import METHODS
from ..transfer.objectives.base import CrossEntropy
from ..transfer.training.distributed import world
from ..transfer.training.recipe import Recipe
from ..transfer.training.train import train

DENSE = Recipe(epochs=12, batch=64, warmup=1)  # of a digits network that has no weights


@dataclass(frozen=True)
class Session:
    """What the stages of one run share. ``net.model`` gets its weights in the first stage and never changes after."""

    ask: RunConfig
    out: Path
    data: Data
    net: Supernet
    progress: Progress

    @cached_property
    def grams(self) -> dict[str, Gram]:
        """What the layers of the dense network read on training images."""
        return grams(self.net, self.data.train)

    def restore(self, stage: str) -> None:
        """Load what a stage left for the others."""
        if stage == "dense" and not self.ask.weights and not self.ask.teacher:
            load_model(self.net.model, str(self.out / "dense" / "weights.safetensors"))
        self.net.model.eval()

    def dense(self) -> Outcome:
        """Digits needs no weights: there the dense network is trained first, and kept."""
        if self.ask.weights:
            return {"weights": self.ask.weights, "classes": len(self.data.classes)}
        return self.trained(self.net.model, "dense")

    def trained(self, model: nn.Module, name: str) -> Outcome:
        """Train a network on labels, and keep it in the folder of that name."""
        folder = self.out / name
        recipe = replace(DENSE, seed=self.ask.seed)
        for step in train(model, self.data.train, CrossEntropy(), recipe, folder=folder):
            self.progress(f"training the {name} network", step.step, step.steps)
        save_model(model, str(folder / "weights.safetensors"))
        return {"epochs": DENSE.epochs}

    def pruned(self, subnetwork: Subnetwork) -> nn.Module:
        """The best that is known without training."""
        model = refit_sequentially(self.net, subnetwork, self.grams, self.data.train)
        recalibrate(model, self.data.train)
        return model

    def tested(self, subnetwork: Subnetwork, best: Path) -> Outcome:
        """The figures of a subnetwork that was kept in ``best``, beside the dense network's; entered there."""
        net = self.net
        pruned = self.pruned(subnetwork)
        tuned = load(best, constructor(self.ask.model, len(self.data.classes))).to(device_of(net.model)).eval()
        arms = {"dense": (net.model, net.dense), "pruned": (pruned, subnetwork), "tuned": (tuned, subnetwork)}
        outcome = {name: self.figures(model, net, kept) for name, (model, kept) in arms.items()}
        record = {**architecture_of(tuned), "figures": outcome, "provenance": asdict(self.ask)}
        save(with_architecture(tuned, record), best)
        return outcome

    def figures(self, model: nn.Module, net: Supernet, subnetwork: Subnetwork) -> Outcome:
        """Holdout and test score of a network, and what it costs."""
        splits = {"holdout": self.data.holdout, "test": self.data.test}
        scores = {split: asdict(evaluate(model, images)) for split, images in splits.items()}
        return {**scores, "macs": net.macs(subnetwork), "parameters": net.parameters(subnetwork)}


@dataclass(frozen=True)
class SearchRun(Session):
    """Widths are searched, the bank is filled, the winner fine-tuned from it."""

    plan: SearchPlan

    @property
    def stages(self) -> Sequence[Callable[[], Outcome]]:
        """All stages, in order."""
        return self.dense, self.search, self.bank, self.transfer, self.test

    @cached_property
    def searched(self) -> Searched:
        """The search's result; a run that is taken up repeats no evaluation, so there it costs little."""
        ask = self.ask
        return search_under(self.net, self.data, self.grams, self.plan, self.out, ask.precision, self.progress)

    def search(self) -> Outcome:
        """Coarse and fine; front.json and its picture."""
        found = self.searched
        write_front(self.out, self.net, found.winner, found.front, self.ask, self._budget())
        write([Results.of(self.out)], self.out)
        counts = {"evaluations": len(found.interims) + len(found.stopped), "stopped": len(found.stopped)}
        return {"winner": found.winner.to_dict(), "start": found.start.to_dict(), **counts}

    def _budget(self) -> Outcome:
        """Where on the axis of MACs the budget lies; ``mark`` says what is there."""
        net, low = self.net, self.plan.span.low
        if "macs" in low.limits:
            return {"macs": low.macs, "mark": "budget" if self.plan.span.is_single else "smallest budget"}
        macs = int(net.space.costs.macs(uniform_widths(net.space, low)))  # other costs have limits
        return {"macs": macs, "mark": "uniform widths at the budget"}

    @cached_property
    def bfloat16(self) -> bool:
        """Whether teachers and student run in it."""
        return in_bfloat16(self.ask.precision, self.net)

    @property
    def extent(self) -> BankConfig:
        """Of the bank: what the method listens to; the images as they are, where it has teachers of its own."""
        teachers = METHODS[self.ask.method].bank_teachers
        return BankConfig(self.ask.views if teachers else 0, bfloat16=self.bfloat16, teachers=teachers or TEACHERS)

    def bank(self) -> Outcome:
        """What its teachers know of every training image: five, or as many as lie between dense and winner."""
        teachers = self.filled(self.searched.winner.subnetwork).teachers
        listed = [{"macs": t.macs, "loss": t.loss} for t in teachers]
        return {"teachers": listed, "missing": self.extent.teachers - len(teachers)}

    def filled(self, point: Subnetwork) -> MemoryBank:
        """The memory bank for a point of the front, with what it lacked."""
        net, data = self.net, self.data
        return bank_for(net, data, self.grams, self.searched, point, self.out, self.extent, self.progress)

    def transfer(self) -> Outcome:
        """Fine-tune the winner from the bank."""
        return self.tuned(self.searched.winner.subnetwork, self.out / "transfer", self.out / "best")

    def tuned(self, subnetwork: Subnetwork, folder: Path, best: Path, plan: str = MANIFEST) -> Outcome:
        """Fine-tune any subnetwork as asked, from a bank, with checkpoints in ``folder``, and keep it in ``best``."""
        ask, data = self.ask, self.data
        student = finetune(
            self.net,
            subnetwork,
            open_bank(BankLocation(self.out / "bank", data.fingerprint, plan), len(data.train)),
            data,
            epochs=ask.epochs,
            method=ask.method,
            seed=ask.seed,
            views=ask.views,
            recipe=Recipe(bfloat16=self.bfloat16),
            folder=folder,
            start=initial_student(self.net, subnetwork, self.grams, data.train),
            progress=self.progress,
        )
        if world().first:
            save(student, best)
        return dict(architecture_of(student)["training"])

    def test(self) -> Outcome:
        """Holdout and test figures of the dense, the pruned and the fine-tuned network, each once, and costs."""
        return self.tested(self.searched.winner.subnetwork, self.out / "best")


def write_front(
    out: Path, net: Supernet, winner: Interim, points: Sequence[Interim], ask: RunConfig, budget: Outcome
) -> None:
    """The winner (scored on the whole holdout) and the points of the front (on the sample), whole architectures."""

    def whole(point: Interim) -> Architecture:
        figures = {"holdout": {"loss": point.loss, "accuracy": point.accuracy, "n": point.n}}
        provenance = {"model": ask.model, "data": ask.data, "seed": ask.seed, "source": point.source}
        return architecture(net, point.subnetwork, figures=figures, provenance=provenance)

    front = {"winner": whole(winner), "points": [whole(point) for point in points]}
    (out / "front.json").write_text(json.dumps({"format": FORMAT, "budget": budget, **front}))
