"""A run: every stage once, in order, entered in the run directory as it is done."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from .data import MEAN, STD, Data, open_data
from .ledger import Ask, Ledger, Outcome, sha256
from .models.architecture import Architecture, architecture, architecture_of, fingerprint, load, save, with_architecture
from .models.archive import FORMAT, architectures, nearest, shares
from .models.atoms import FloatArray
from .models.budget import fit
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
from .pipeline import METHODS, fill_bank, finetune, search_under, silent
from .report import write
from .results import Results
from .search.interim import Interim
from .search.widths import Plan, Progress, Searched
from .transfer.bank import PLAN, TEACHERS, MemoryBank, open_bank
from .transfer.finetune import Recipe
from .transfer.finetune import finetune as train
from .transfer.objectives import CrossEntropy
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
        raise SecateurError("a run works in one process; run it without torchrun, then torchrun secateur transfer")
    work, ledger = opened(ask, out, device, progress)
    for stage in (work.dense, work.search, work.bank, work.transfer, work.test):
        ledger.stage(stage.__name__, stage, shared=stage == work.search)
        work.take_up(stage.__name__)
        if stage.__name__ == until:
            break
    write([Results.of(out)], out)
    return ledger.stages


def opened(ask: Ask, out: Path, device: str | None, progress: Progress) -> "tuple[Work, Ledger]":
    """Everything that the stages of a run share, and the book of those that are done."""
    if ask.method not in METHODS:
        raise SecateurError(f"no method is called {ask.method!r}; give {', '.join(METHODS)}")
    if ask.weights is None and ask.data != "digits":
        raise SecateurError(f"no weights for {ask.model} on {ask.data}; give --weights FILE of the trained network")
    reading = partial(progress, "reading images")
    data = open_data(ask.data, ask.shape, ask.mean or MEAN, ask.std or STD, progress=reading)
    torch.manual_seed(ask.seed)
    model = constructor(ask.model, len(data.classes))()
    if ask.weights:
        load_weights(model, ask.weights)
    model = _on(model, device)
    net = Supernet.of(model, data.example, divisor=ask.divisor, freeze=ask.freeze, tie=ask.ties, least=ask.leasts)
    _check_classes(net, data)
    timed = _timed(net, out, progress) if ask.latency else None
    span = net.span(**ask.limits, timed=timed)
    known = _known(Path(ask.start), net, span) if ask.start else []
    plan = Plan(span, ask.trials, ask.sampler, known, ask.seed, ask.storage)
    ledger = Ledger(out, ask)
    if timed:
        (out / TIMES).write_text(timed.to_json(net))
    marks = {"data": data.fingerprint, "network": fingerprint(net)}
    for name, mark in {**marks, "weights": sha256(ask.weights) if ask.weights else "none"}.items():
        ledger.require(name, mark)
    return Work(ask, out, data, net, plan, progress), ledger


@dataclass(frozen=True)
class Work:
    """What the stages of one run share. ``net.model`` gets its weights in the first stage and never changes after."""

    ask: Ask
    out: Path
    data: Data
    net: Supernet
    plan: Plan
    progress: Progress

    @cached_property
    def grams(self) -> dict[str, Gram]:
        """What the layers of the dense network read on training images."""
        return grams(self.net, self.data.train)

    @cached_property
    def searched(self) -> Searched:
        """The search's result; a run that is taken up repeats no evaluation, so there it costs little."""
        return search_under(self.net, self.data, self.grams, self.plan, self.out, self.progress)

    def take_up(self, stage: str) -> None:
        """Load what a stage left for the others."""
        if stage == "dense" and not self.ask.weights:
            load_model(self.net.model, str(self.out / "dense" / "weights.safetensors"))
        self.net.model.eval()

    def dense(self) -> Outcome:
        """Digits needs no weights: there the dense network is trained first, and kept."""
        if self.ask.weights:
            return {"weights": self.ask.weights}
        model, folder = self.net.model, self.out / "dense"
        for step in train(model, None, self.data.train, CrossEntropy(), replace(DENSE, seed=self.ask.seed), folder):
            self.progress("training the dense network", step.step, step.steps)
        save_model(model, str(folder / "weights.safetensors"))
        return {"epochs": DENSE.epochs}

    def search(self) -> Outcome:
        """Coarse and fine; front.json and its picture."""
        found = self.searched
        _write_front(self.out / "front.json", self.net, found, self.ask, self._budget())
        write([Results.of(self.out)], self.out)
        counts = {"evaluations": len(found.interims) + len(found.stopped), "stopped": len(found.stopped)}
        return {"winner": found.winner.about(), "start": found.start.about(), **counts}

    def _budget(self) -> Outcome:
        """Where on the axis of MACs the budget lies; ``mark`` says what is there."""
        net, low = self.net, self.plan.span.low
        if "macs" in low.limits:
            return {"macs": low.macs, "mark": "budget" if self.plan.span.single else "smallest budget"}
        uniform = fit(net.space, low, net.space.dense.astype(np.float64))  # other costs have limits
        return {"macs": int(net.space.costs.macs(uniform)), "mark": "uniform widths at the budget"}

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

    def tested(self, subnetwork: Subnetwork, best: Path) -> Outcome:
        """The figures of a subnetwork that was kept in ``best``, beside the dense network's; entered there."""
        net = self.net
        pruned = compensated_in_sequence(net, subnetwork, self.grams, self.data.train)
        recalibrate(pruned, self.data.train)
        tuned = load(best, constructor(self.ask.model, len(self.data.classes))).to(device_of(net.model)).eval()
        arms = {"dense": (net.model, net.dense), "pruned": (pruned, subnetwork), "tuned": (tuned, subnetwork)}
        outcome: Outcome = {}
        for name, (model, kept) in arms.items():
            splits = {"holdout": self.data.holdout, "test": self.data.test}
            scores = {split: asdict(evaluate(model, images)) for split, images in splits.items()}
            outcome[name] = {**scores, "macs": net.macs(kept), "parameters": net.parameters(kept)}
        record = {**architecture_of(tuned), "figures": outcome, "provenance": asdict(self.ask)}
        save(with_architecture(tuned, record), best)
        return outcome


def _timed(net: Supernet, out: Path, progress: Progress) -> Latency:
    """The table of times that the run began with, or a new one."""
    if (out / TIMES).exists():
        return Latency.from_json((out / TIMES).read_text(), net)
    return measure(net, progress=progress)


def _known(path: Path, net: Supernet, span: Span) -> list[FloatArray]:
    """The shares of those architectures that are likest to uniform widths at the span's lower end. Shape: (G,) each"""
    uniform = fit(net.space, span.low, net.space.dense.astype(np.float64))
    return [shares(record, net) for record in nearest(architectures(path), net, uniform, STARTS)]


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


def _write_front(path: Path, net: Supernet, searched: Searched, ask: Ask, budget: Outcome) -> None:
    """The winner (scored on the whole holdout) and the points of the front (on the sample), whole architectures."""

    def whole(point: Interim) -> Architecture:
        figures = {"holdout": {"loss": point.loss, "accuracy": point.accuracy, "n": point.n}}
        provenance = {"model": ask.model, "data": ask.data, "seed": ask.seed, "source": point.source}
        return architecture(net, point.subnetwork, figures=figures, provenance=provenance)

    front = {"winner": whole(searched.winner), "points": [whole(point) for point in searched.front]}
    path.write_text(json.dumps({"format": FORMAT, "budget": budget, **front}))
