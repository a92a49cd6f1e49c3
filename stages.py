"""A run: every stage once, in order, entered in the run directory as it is done."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from .data import Data
from .learning import blockwise_of, finish, halves, kddp_of, learn, noted
from .ledger import LEARNT, Ask, Ledger, Outcome, sha256
from .models.architecture import Architecture, architecture, architecture_of, fingerprint, load, save, with_architecture
from .models.archive import FORMAT, architectures, likest, shares
from .models.atoms import FloatArray
from .models.budget import uniform
from .models.errors import SecateurError
from .models.evaluate import device_of, evaluate, recalibrate
from .models.gram import Gram, grams
from .models.latency import Latency, measure
from .models.sequence import compensated_in_sequence
from .models.span import Span
from .models.specs import constructor
from .models.subnetwork import Subnetwork
from .models.supernet import Supernet
from .models.trace import evaluating
from .models.weights import load_weights
from .pipeline import METHODS, fill_bank, finetune, images_of, search_under, silent
from .report import write
from .results import Results
from .search.interim import Interim, Records
from .search.widths import Plan, Progress, Searched
from .transfer.bank import PLAN, TEACHERS, MemoryBank, open_bank
from .transfer.finetune import Recipe
from .transfer.finetune import finetune as train
from .transfer.learner import Learner
from .transfer.objectives import CrossEntropy
from .transfer.pdd import pdd
from .transfer.ranks import ranks, started_by_torchrun

STARTS = 5  # at most, of the architectures that --start names
TIMES = "latency.json"  # in the run directory: the table that a budget of latency is measured by
DENSE = Recipe(epochs=12, batch=64, warmup=1)  # of a digits network that has no weights


def run(
    ask: Ask, out: Path, *, until: str = "test", device: str | None = None, progress: Progress = silent
) -> dict[str, Outcome]:
    """Dense network, search, memory bank, fine-tuning, test: those that the run directory ``out`` still lacks.

    ``until``: the last stage to do, by its name in run.json. Whatever is wrong with the ask is found before anything
    is trained or written. Returns what each stage came to, with its seconds.
    """
    if started_by_torchrun():
        raise SecateurError("torchrun is for fine-tuning; run without it, then torchrun -m secateur transfer")
    work, ledger = opened(ask, out, device, progress)
    if until not in {stage.__name__ for stage in work.stages}:
        raise SecateurError(f"--method {ask.method} has no stage {until!r}; use secateur run")
    for stage in work.stages:
        ledger.stage(stage.__name__, stage, shared=stage.__name__ == "search")
        work.take_up(stage.__name__)
        if stage.__name__ == until:
            break
    write([Results.of(out)], out)
    return ledger.stages


def opened(ask: Ask, out: Path, device: str | None, progress: Progress) -> "tuple[Search | Learning, Ledger]":
    """Everything that the stages of a run share, and the book of those that are done."""
    if ask.method not in (*METHODS, *LEARNT):
        raise SecateurError(f"no method is called {ask.method!r}; give {', '.join((*METHODS, *LEARNT))}")
    if ask.weights is None and ask.teacher is None and ask.data != "digits":
        raise SecateurError(f"no weights for {ask.model} on {ask.data}; give --weights FILE of the trained network")
    data = images_of(ask, progress)
    torch.manual_seed(ask.seed)
    model = constructor(ask.model, len(data.classes))()
    if ask.weights:
        load_weights(model, ask.weights)
    model = _on(model, device)
    net = Supernet.of(model, data.example, divisor=ask.divisor, freeze=ask.freeze, tie=ask.ties, least=ask.leasts)
    _check_classes(net, data)
    timed = _timed(net, out, progress) if ask.latency else None
    if ask.learns:
        work: Search | Learning = _learning(ask, out, data, net, progress)
    else:
        span = net.span(**ask.limits, timed=timed)
        known = _known(Path(ask.start), net, span) if ask.start else []
        plan = Plan(span, ask.trials, ask.sampler, known, ask.seed, ask.storage)
        work = Search(ask, out, data, net, progress, plan)
    ledger = Ledger(out, ask)
    if timed:
        (out / TIMES).write_text(timed.to_json(net))
    marks = {"data": data.fingerprint, "network": fingerprint(net)}
    marks["weights"] = sha256(ask.weights) if ask.weights else "none"
    if ask.teacher_weights:
        marks["teacher's weights"] = sha256(ask.teacher_weights)
    for name, mark in marks.items():
        ledger.require(name, mark)
    return work, ledger


@dataclass(frozen=True)
class Work:
    """What the stages of one run share. ``net.model`` gets its weights in the first stage and never changes after."""

    ask: Ask
    out: Path
    data: Data
    net: Supernet
    progress: Progress

    @cached_property
    def grams(self) -> dict[str, Gram]:
        """What the layers of the dense network read on training images."""
        return grams(self.net, self.data.train)

    def take_up(self, stage: str) -> None:
        """Load what a stage left for the others."""
        if stage == "dense" and not self.ask.weights and not self.ask.teacher:
            load_model(self.net.model, str(self.out / "dense" / "weights.safetensors"))
        self.net.model.eval()

    def dense(self) -> Outcome:
        """Digits needs no weights: there the dense network is trained first, and kept."""
        if self.ask.weights:
            return {"weights": self.ask.weights}
        return self.trained(self.net.model, "dense")

    def trained(self, model: nn.Module, name: str) -> Outcome:
        """Train a network on labels, and keep it in the folder of that name."""
        folder = self.out / name
        for step in train(model, None, self.data.train, CrossEntropy(), replace(DENSE, seed=self.ask.seed), folder):
            self.progress(f"training the {name} network", step.step, step.steps)
        save_model(model, str(folder / "weights.safetensors"))
        return {"epochs": DENSE.epochs}

    def pruned(self, subnetwork: Subnetwork) -> nn.Module:
        """What fine-tuning starts from."""
        return compensated_in_sequence(self.net, subnetwork, self.grams, self.data.train)

    def tested(self, subnetwork: Subnetwork, best: Path) -> Outcome:
        """The figures of a subnetwork that was kept in ``best``, beside the dense network's; entered there."""
        net = self.net
        pruned = self.pruned(subnetwork)
        recalibrate(pruned, self.data.train)
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
class Search(Work):
    """Widths are searched, the bank is filled, the winner fine-tuned from it."""

    plan: Plan

    @property
    def stages(self) -> Sequence[Callable[[], Outcome]]:
        """All stages, in order."""
        return self.dense, self.search, self.bank, self.transfer, self.test

    @cached_property
    def searched(self) -> Searched:
        """The search's result; a run that is taken up repeats no evaluation, so there it costs little."""
        return search_under(self.net, self.data, self.grams, self.plan, self.out, self.progress)

    def search(self) -> Outcome:
        """Coarse and fine; front.json and its picture."""
        found = self.searched
        _write_front(self.out, self.net, found.winner, found.front, self.ask, self._budget())
        write([Results.of(self.out)], self.out)
        counts = {"evaluations": len(found.interims) + len(found.stopped), "stopped": len(found.stopped)}
        return {"winner": found.winner.about(), "start": found.start.about(), **counts}

    def _budget(self) -> Outcome:
        """Where on the axis of MACs the budget lies; ``mark`` says what is there."""
        net, low = self.net, self.plan.span.low
        if "macs" in low.limits:
            return {"macs": low.macs, "mark": "budget" if self.plan.span.single else "smallest budget"}
        macs = int(net.space.costs.macs(uniform(net.space, low)))  # other costs have limits
        return {"macs": macs, "mark": "uniform widths at the budget"}

    def bank(self) -> Outcome:
        """What five teachers know of every training image, or as many as lie between dense and winner."""
        teachers = self.filled(self.searched.winner.subnetwork).teachers
        return {"teachers": [{"macs": t.macs, "loss": t.loss} for t in teachers], "missing": TEACHERS - len(teachers)}

    def filled(self, point: Subnetwork) -> MemoryBank:
        """The memory bank for a point of the front, with what it lacked."""
        net, data, ask = self.net, self.data, self.ask
        return fill_bank(net, data, self.grams, self.searched, point, self.out, views=ask.views, progress=self.progress)

    def transfer(self) -> Outcome:
        """Fine-tune the winner from the bank."""
        return self.tuned(self.searched.winner.subnetwork, self.out / "transfer", self.out / "best")

    def tuned(self, subnetwork: Subnetwork, folder: Path, best: Path, plan: str = PLAN) -> Outcome:
        """Fine-tune any subnetwork as asked, from a bank, with checkpoints in ``folder``, and keep it in ``best``."""
        ask, data = self.ask, self.data
        student = finetune(
            self.net,
            subnetwork,
            open_bank(self.out / "bank", len(data.train), data.fingerprint, plan),
            data,
            epochs=ask.epochs,
            method=ask.method,
            seed=ask.seed,
            views=ask.views,
            folder=folder,
            known=self.grams,
            progress=self.progress,
        )
        if ranks().first:
            save(student, best)
        return dict(architecture_of(student)["training"])

    def test(self) -> Outcome:
        """Holdout and test figures of the dense, the pruned and the fine-tuned network, each once, and costs."""
        return self.tested(self.searched.winner.subnetwork, self.out / "best")


@dataclass(frozen=True)
class Learning(Work):
    """Widths are learnt by a student under a teacher, who is another network (``taught_by``) or the dense one."""

    taught_by: Supernet | None

    @property
    def stages(self) -> Sequence[Callable[[], Outcome]]:
        """All stages, in order."""
        return self.dense, self.teacher, self.learn, self.transfer, self.test

    def take_up(self, stage: str) -> None:
        """Load what a stage left for the others."""
        super().take_up(stage)
        if self.taught_by and stage == "teacher" and not self.ask.teacher_weights:
            load_model(self.taught_by.model, str(self.out / "teacher" / "weights.safetensors"))

    def dense(self) -> Outcome:
        """As ever; but under a teacher a student without weights starts anew."""
        return {"weights": "none"} if self.ask.teacher and not self.ask.weights else super().dense()

    def teacher(self) -> Outcome:
        """Digits needs no weights for it, either."""
        if self.taught_by is None or self.ask.teacher_weights:
            return {"weights": self.ask.teacher_weights or "the dense network's"}
        return self.trained(self.taught_by.model, "teacher")

    @property
    def recipes(self) -> tuple[Recipe, Recipe]:
        """Of the two halves."""
        return halves(self.ask.epochs, self.ask.seed)

    def make(self) -> Learner:
        """A learner that has learnt nothing yet."""
        ask, net, split = self.ask, self.net, self.data.train
        teacher = self.taught_by.model.eval() if self.taught_by else None
        if ask.method == "pdd":
            budget = net.budget(ask.flops, params=ask.params) if ask.limits else None
            return pdd(net, teacher or net.model, budget=budget, seed=ask.seed)
        if ask.method == "kddp":
            return kddp_of(net, teacher, split, self.recipes[0], ask.strength, ask.neurons)
        given = (ask.strength, ask.strengths, ask.constraint, ask.blocks)
        return blockwise_of(net, teacher, split, self.recipes[0], *given)

    @cached_property
    def learner(self) -> Learner:
        """The student after the first half; one that is taken up there costs little."""
        learner = self.make()
        learn(learner, self.data.train, self.recipes[0], self.out / "learn", self.progress)
        return learner

    def learn(self) -> Outcome:
        """The first half; front.json with its one point, and the dense network beside it."""
        kept, point = self.learner.kept(), self.pruned(self.learner.kept())
        recalibrate(point, self.data.train)
        scored, costs = evaluate(point, self.data.holdout), (self.net.macs(kept), self.net.parameters(kept))
        found = Interim(kept, self.ask.method, scored.loss, scored.accuracy, scored.n, *costs)
        _write_front(
            self.out, self.net, found, [found], self.ask, {"macs": found.macs, "mark": f"found by {self.ask.method}"}
        )
        (self.out / "bank").mkdir(exist_ok=True)
        records = Records(self.net, self.data.holdout, self.out / "bank" / "records.jsonl")
        records.evaluate(self.net.dense, "dense", len(self.data.holdout))  # what the point is compared with
        return {"form": self.learner.form, "widths": noted(self.out / "learn")}

    def transfer(self) -> Outcome:
        """The second half."""
        ask, learner, folder = self.ask, self.learner, self.out / "transfer"
        student = finish(self.net, self.data, learner, ask.method, self.recipes[1], folder, self.progress)
        save(student, self.out / "best")
        return dict(architecture_of(student)["training"])

    def pruned(self, subnetwork: Subnetwork) -> nn.Module:
        """The student as it was after the first half."""
        return self.learner.slimmed()

    def test(self) -> Outcome:
        """As after a search, and the teacher's figures where it is another network."""
        outcome = self.tested(self.learner.kept(), self.out / "best")
        if self.taught_by:
            outcome["teacher"] = self.figures(self.taught_by.model, self.taught_by, self.taught_by.dense)
        return outcome


def _learning(ask: Ask, out: Path, data: Data, net: Supernet, progress: Progress) -> Learning:
    """The work of a run that learns widths; what is wrong with its options is found here."""
    teacher = None
    if ask.teacher:
        if ask.teacher_weights is None and ask.data != "digits":
            raise SecateurError(f"no weights for the teacher {ask.teacher}; give --teacher-weights FILE")
        model = constructor(ask.teacher, len(data.classes))()
        if ask.teacher_weights:
            load_weights(model, ask.teacher_weights)
        teacher = Supernet.of(model.to(device_of(net.model)).eval(), data.example, check=False)
        _check_classes(teacher, data)
    elif ask.teacher_weights:
        raise SecateurError("--teacher-weights are of no network; give --teacher MODEL, too")
    work = Learning(ask, out, data, net, progress, teacher)
    work.make()
    return work


def _timed(net: Supernet, out: Path, progress: Progress) -> Latency:
    """The table of times that the run began with, or a new one."""
    if (out / TIMES).exists():
        return Latency.from_json((out / TIMES).read_text(), net)
    return measure(net, progress=progress)


def _known(path: Path, net: Supernet, span: Span) -> list[FloatArray]:
    """The shares of those architectures that are likest to uniform widths at the span's lower end. Shape: (G,) each"""
    return [shares(record, net) for record in likest(architectures(path), net, span.low, STARTS)]


def _on(model: nn.Module, device: str | None) -> nn.Module:
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if torch.device(name).type == "meta":
            raise RuntimeError("it holds no numbers")
        return model.to(name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        what = str(error).splitlines()[0]
        raise SecateurError(
            f"no device {name!r} is here ({what}); give --device cpu, or cuda where there is one"
        ) from error


def _check_classes(net: Supernet, data: Data) -> None:
    with torch.no_grad(), evaluating(net.model):
        answer = net.model(*net.examples)
    if not isinstance(answer, torch.Tensor):
        raise SecateurError(f"the network gives a {type(answer).__name__}; give one that gives its logits alone")
    outputs = answer.shape[-1]
    if outputs != len(data.classes):
        raise SecateurError(
            f"the network has {outputs} outputs and {data.name} has {len(data.classes)} classes; give matching ones"
        )


def _write_front(
    out: Path, net: Supernet, winner: Interim, points: Sequence[Interim], ask: Ask, budget: Outcome
) -> None:
    """The winner (scored on the whole holdout) and the points of the front (on the sample), whole architectures."""

    def whole(point: Interim) -> Architecture:
        figures = {"holdout": {"loss": point.loss, "accuracy": point.accuracy, "n": point.n}}
        provenance = {"model": ask.model, "data": ask.data, "seed": ask.seed, "source": point.source}
        return architecture(net, point.subnetwork, figures=figures, provenance=provenance)

    front = {"winner": whole(winner), "points": [whole(point) for point in points]}
    (out / "front.json").write_text(json.dumps({"format": FORMAT, "budget": budget, **front}))
