"""From a trained network, data and a budget to a smaller network: search, bank, transfer."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .data import MEAN, STD, Data, open_data
from .ledger import Ask, Ledger, Outcome, sha256
from .models.architecture import Architecture, architecture, built, fingerprint, load, save
from .models.budget import Budget
from .models.errors import SecateurError
from .models.evaluate import device_of, evaluate, recalibrate
from .models.specs import constructor
from .models.subnetwork import Subnetwork
from .models.supernet import Supernet
from .models.trace import evaluating
from .models.weights import load_weights
from .report import pareto
from .search.interim import Interim, Records
from .search.widths import Progress, Searched, search_widths
from .transfer.bank import MemoryBank, choose_teachers, open_bank, record
from .transfer.finetune import Recipe
from .transfer.finetune import finetune as train
from .transfer.objectives import ContrastiveTransfer, CrossEntropy, Objective

DENSE = Recipe(epochs=12, batch=64, warmup=1)  # of a digits network that has no weights


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def ckt(bank: MemoryBank, data: Data, width: int, seed: int) -> Objective:
    """Cross-entropy, gated teachers and InfoNCE against the bank."""
    return ContrastiveTransfer(bank, data.train.labels, width, pull=1.0, contrast=0.5, seed=seed)


def ckt_kl(bank: MemoryBank, data: Data, width: int, seed: int) -> Objective:
    """Cross-entropy and gated teachers only."""
    return ContrastiveTransfer(bank, data.train.labels, width, pull=1.0, contrast=0.0, seed=seed)


def ce(bank: MemoryBank, data: Data, width: int, seed: int) -> Objective:
    """Cross-entropy alone."""
    return CrossEntropy()


# The words of --method: bank, data, the student's embedding width and a seed make an objective.
METHODS: dict[str, Callable[[MemoryBank, Data, int, int], Objective]] = {"ckt": ckt, "ckt-kl": ckt_kl, "ce": ce}


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found: the winner at the budget, the front over all costs, and the memory bank.

    ``start`` is the best proposal of the coarse search at the budget, on the sample that scores trials.
    """

    net: Supernet
    winner: Interim
    start: Interim
    front: tuple[Interim, ...]
    bank: MemoryBank

    def best(self, budget: str | None = None) -> Subnetwork:
        """The winner; or the point of the front with the lowest holdout loss that meets ``budget``."""
        if budget is None:
            return self.winner.subnetwork
        limit = Budget.parse(budget, self.net.macs(self.net.dense)).macs
        affordable = [point for point in self.front if point.macs <= limit]
        if not affordable:
            least = min(point.macs for point in self.front)
            raise SecateurError(
                f"no point of the front costs at most {limit / 1e6:.4g}M MACs, the smallest {least / 1e6:.4g}M; "
                "give a higher budget or search at this one"
            )
        return min(affordable, key=lambda point: point.loss).subnetwork


def find(
    net: Supernet,
    data: Data,
    budget: str,
    *,
    trials: int = Ask.trials,
    seed: int = 0,
    storage: Path | str | None = None,
    progress: Progress = silent,
) -> Found:
    """Search the widths under ``budget`` (``"50%"``, ``"62M"``) and fill the memory bank.

    Everything is kept in the folder ``storage`` and taken up there; without one, in a temporary folder. The
    network is not changed, and test data is not read.
    """
    if trials < 0:
        raise SecateurError(f"trials={trials}; give 0 or more")
    folder = Path(storage or tempfile.mkdtemp(prefix="secateur-"))
    searched = _search(net, data, net.budget(budget), trials, seed, folder, progress)
    bank = _fill_bank(net, data, searched, folder, progress)
    return Found(net, searched.winner, searched.start, tuple(searched.front), bank)


def finetune(
    net: Supernet,
    subnetwork: Subnetwork,
    bank: MemoryBank,
    data: Data,
    *,
    epochs: int = Ask.epochs,
    method: str = Ask.method,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Build ``subnetwork`` and train it with the bank: ``ckt``, ``ckt-kl`` (gated teachers only) or ``ce``.

    A ``folder`` keeps checkpoints and metrics.jsonl, and is taken up. Returns a plain module in evaluation
    mode, its batch norm recalibrated on training images, that carries its architecture.
    """
    if method not in METHODS:
        raise SecateurError(f"no method is called {method!r}; give {', '.join(METHODS)}")
    model = built(net, subnetwork)
    width = model.get_parameter(f"{net.head}.weight").shape[1] if net.head else bank.embeddings.shape[-1]
    objective = METHODS[method](bank, data, width, seed)
    for step in train(model, net.head, data.train, objective, Recipe(epochs=epochs, seed=seed), folder):
        progress(f"fine-tuning ({method})", step.step, step.steps)
    recalibrate(model, data.train)
    training = {"method": method, "epochs": epochs, "seed": seed, "gates_open": objective.gates()}
    normalisation = {"mean": list(data.train.mean), "std": list(data.train.std)}
    model.architecture = architecture(net, subnetwork, training=training, normalisation=normalisation)  # type: ignore[assignment]
    return model.eval()


def run(ask: Ask, out: Path, *, device: str | None = None, progress: Progress = silent) -> dict[str, Outcome]:
    """All stages in the run directory ``out``, or those of them still missing. Returns what each came to."""
    if ask.method not in METHODS:
        raise SecateurError(f"no method is called {ask.method!r}; give {', '.join(METHODS)}")
    if ask.weights is None and ask.data != "digits":
        raise SecateurError(f"no weights for {ask.model} on {ask.data}; give --weights FILE of the trained network")
    data = open_data(
        ask.data, ask.shape, ask.mean or MEAN, ask.std or STD, progress=partial(progress, "reading images")
    )
    ledger = Ledger(out, ask)
    ledger.require("data", data.fingerprint)
    model = _dense(ledger, ask, data, progress).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    net = Supernet.of(model, data.example, divisor=ask.divisor)
    ledger.require("network", fingerprint(net))
    budget = net.budget(ask.flops)

    @cache
    def searched() -> Searched:  # a run that is taken up repeats no evaluation, so there this is cheap
        return _search(net, data, budget, ask.trials, ask.seed, out, progress)

    def search() -> Outcome:
        found = searched()
        _write_front(out / "front.json", net, found, ask)
        picture = pareto(found.front, net.macs(net.dense), budget.macs, found.winner)
        picture.savefig(out / "pareto.png", dpi=150)
        picture.savefig(out / "pareto.svg")
        return {"winner": found.winner.about(), "start": found.start.about(), "evaluations": len(found.interims)}

    def bank() -> Outcome:
        teachers = _fill_bank(net, data, searched(), out, progress).teachers
        return {"teachers": [{"macs": teacher.macs, "loss": teacher.loss} for teacher in teachers]}

    def transfer() -> Outcome:
        winner, known = searched().winner.subnetwork, open_bank(out / "bank", len(data.train), data.fingerprint)
        options = {"epochs": ask.epochs, "method": ask.method, "seed": ask.seed, "progress": progress}
        student = finetune(net, winner, known, data, folder=out / "transfer", **options)
        save(student, out / "best")
        return dict(student.architecture["training"])  # type: ignore[index, arg-type]

    for name, work in (("search", search), ("bank", bank), ("transfer", transfer)):
        ledger.stage(name, work)
    ledger.stage("test", lambda: _test(net, searched().winner.subnetwork, data, out / "best", ask))
    return ledger.stages


def _dense(ledger: Ledger, ask: Ask, data: Data, progress: Progress) -> nn.Module:
    """The dense network with its weights; on digits, where none are given, trained and kept in the run."""
    torch.manual_seed(ask.seed)
    model = constructor(ask.model, len(data.classes))()
    if ask.weights:
        load_weights(model, ask.weights)
        ledger.require("weights", sha256(ask.weights))
        _check_classes(model, data)
        return model.eval()
    folder = ledger.folder / "dense"

    def trained() -> Outcome:
        for step in train(model, None, data.train, CrossEntropy(), replace(DENSE, seed=ask.seed), folder):
            progress("training the dense network", step.step, step.steps)
        save_file(model.state_dict(), folder / "weights.safetensors")
        return {"epochs": DENSE.epochs}

    _check_classes(model, data)
    ledger.stage("dense", trained)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval()


def _check_classes(model: nn.Module, data: Data) -> None:
    with torch.no_grad(), evaluating(model):
        outputs = model(data.example).shape[-1]
    if outputs != len(data.classes):
        raise SecateurError(
            f"the network has {outputs} outputs and {data.name} has {len(data.classes)} classes; give matching ones"
        )


def _search(
    net: Supernet, data: Data, budget: Budget, trials: int, seed: int, folder: Path, progress: Progress
) -> Searched:
    (folder / "bank").mkdir(parents=True, exist_ok=True)
    records = Records(net, data.holdout, folder / "bank" / "records.jsonl")
    return search_widths(records, budget, trials=trials, seed=seed, folder=folder, progress=progress)


def _fill_bank(net: Supernet, data: Data, searched: Searched, folder: Path, progress: Progress) -> MemoryBank:
    teachers = choose_teachers(searched.interims, net.dense, searched.winner.subnetwork)
    for done in record(net, teachers, data.train, folder / "bank", data.fingerprint):
        progress("memory bank", done, len(teachers) * len(data.train))
    return open_bank(folder / "bank", len(data.train), data.fingerprint)


def _test(net: Supernet, winner: Subnetwork, data: Data, best: Path, ask: Ask) -> Outcome:
    """Holdout and test figures of the dense, the pruned and the fine-tuned network, each once, and their costs."""
    pruned = built(net, winner)
    recalibrate(pruned, data.train)
    tuned = load(best, constructor(ask.model, len(data.classes))).to(device_of(net.model)).eval()
    outcome: Outcome = {}
    for name, model, kept in (("dense", net.model, net.dense), ("pruned", pruned, winner), ("tuned", tuned, winner)):
        scores = {"holdout": asdict(evaluate(model, data.holdout)), "test": asdict(evaluate(model, data.test))}
        outcome[name] = {**scores, "macs": net.macs(kept), "parameters": net.parameters(kept)}
    tuned.architecture.update(figures=outcome, provenance=asdict(ask))  # type: ignore[operator, union-attr]
    save(tuned, best)
    return outcome


def _write_front(path: Path, net: Supernet, searched: Searched, ask: Ask) -> None:
    points: list[Architecture] = []
    for point in searched.front:
        figures = {"holdout": {"loss": point.loss, "accuracy": point.accuracy, "n": point.n}}
        provenance = {"model": ask.model, "data": ask.data, "seed": ask.seed, "source": point.source}
        points.append(architecture(net, point.subnetwork, figures=figures, provenance=provenance))
    path.write_text(json.dumps({"format": "secateur/front/1", "points": points}))
