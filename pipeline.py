"""From a trained network, data and a budget to a smaller network: search, bank, transfer."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from .data.dataset import Data, open_data
from .data.images import MEAN, STD
from .errors import SecateurError
from .models.compensation.gram import Gram, grams
from .models.compensation.halfway import initial_student
from .models.costs.budget import Budget
from .models.costs.budget_range import BudgetRange
from .models.evaluate import recalibrate_as_trained
from .models.files.architecture import architecture, with_architecture
from .models.precision import in_bfloat16
from .models.subnetwork import Subnetwork
from .models.supernet import Supernet
from .progress import Progress, follow, silent
from .rundir.config import RunConfig
from .search.coarse_to_fine import Searched, SearchPlan, search_widths
from .search.records import Interim, Records
from .search.refine import Sampler
from .transfer.bank.bank import MemoryBank, open_bank
from .transfer.bank.fill import BankConfig, fill_bank
from .transfer.bank.manifest import BankLocation, manifest_name
from .transfer.bank.teachers import choose_teachers
from .transfer.joint.learner import Learner
from .transfer.joint.methods import Blockwise, JointMethod, Kddp, Pdd
from .transfer.joint.train import Training, learn_widths
from .transfer.methods import METHODS, MethodContext, embedding_width, require_method
from .transfer.training.recipe import Recipe
from .transfer.training.train import train


def open_run_data(ask: RunConfig, progress: Progress, shape: tuple[int, int, int] | None = None) -> Data:
    """The images that are asked for, with the statistics that are, in the size that is (or in another ``shape``)."""
    reading = partial(progress, "reading images")
    return open_data(ask.data, shape or ask.shape, ask.mean or MEAN, ask.std or STD, progress=reading)


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

    def best(self, budget: str | Budget | None = None) -> Subnetwork:
        """The winner; or the point of the front with the lowest holdout loss that meets ``budget``."""
        return (self.winner if budget is None else best_under(self.net, self.front, budget)).subnetwork


def best_under(net: Supernet, front: Sequence[Interim], budget: str | Budget) -> Interim:
    """The point of a front with the lowest holdout loss that meets ``budget``. SecateurError where none does."""
    limit = net.limits(budget) if isinstance(budget, str) else budget
    affordable = [point for point in front if limit.holds(net.space.costs, point.subnetwork.widths)]
    if not affordable:
        least = min(point.macs for point in front)
        raise SecateurError(
            f"no point of the front costs at most {limit}, the smallest {least / 1e6:.4g}M MACs; "
            "give a higher budget or search at this one"
        )
    return min(affordable, key=lambda point: point.loss)


def find(
    net: Supernet,
    data: Data,
    budget: str | Budget | BudgetRange,
    *,
    trials: int = RunConfig.trials,
    sampler: str | Sampler = RunConfig.sampler,
    start: Sequence[Subnetwork] = (),
    seed: int = 0,
    storage: Path | str | None = None,
    database: str | None = None,
    views: int = RunConfig.views,
    precision: str = RunConfig.precision,
    progress: Progress = silent,
) -> Found:
    """Search the widths under ``budget`` (``"50%"``, ``"62M"``, or of ``net.budget``) and fill the memory bank.

    A range, ``"25%..80%"`` or of ``net.span``, is searched at once: the front answers for all of it, and the winner
    is that of its lower end. ``start``: subnetworks found before, at any budget. Everything is kept in the folder
    ``storage`` and taken up there; without one, in a temporary folder. ``sampler``: a word, or what makes a sampler of
    Optuna out of a seed. ``database``: the URL of one that several processes share. The bank holds so many fixed
    ``views`` of each image, too. ``precision``: what subnetworks are evaluated in and teachers run in, a word of
    ``PRECISIONS``. The network is not changed, and test data is not read.
    """
    span = (
        net.span(budget)
        if isinstance(budget, str)
        else budget
        if isinstance(budget, BudgetRange)
        else BudgetRange(budget, budget)
    )
    net.space.require(span.low)
    plan = SearchPlan(span, trials, sampler, [each.widths / net.space.dense for each in start], seed, database)
    folder, data = Path(storage or tempfile.mkdtemp(prefix="secateur-")), data.in_memory_format_of(net.model)
    known = grams(net, data.train)
    searched = search_under(net, data, known, plan, folder, precision, progress)
    point = searched.winner.subnetwork
    extent = BankConfig(views, bfloat16=in_bfloat16(precision, net))
    bank = bank_for(net, data, known, searched, point, folder, extent, progress)
    return Found(net, searched.winner, searched.start, tuple(searched.front), bank)


def finetune(
    net: Supernet,
    subnetwork: Subnetwork,
    bank: MemoryBank | None,
    data: Data,
    *,
    epochs: int = RunConfig.epochs,
    method: str = RunConfig.method,
    seed: int = 0,
    views: int = RunConfig.views,
    recipe: Recipe | None = None,
    folder: Path | None = None,
    start: nn.Module | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Build ``subnetwork`` and train it by a method of ``METHODS``: with the bank, a dense teacher, or labels alone.

    It starts ``halfway`` from inherited to compensated weights, or from ``start``, a network of these widths, which is
    trained in place. By a method of the bank the student sees so many fixed ``views`` of each image, in turn, those
    that the bank holds; by another, which needs no ``bank``, or with none, each view is new. ``recipe`` says everything
    else; the usual one is in bfloat16 where the device computes in it. A ``folder`` keeps checkpoints and
    metrics.jsonl, and is taken up.
    Returns a plain module in evaluation mode, its batch norm recalibrated on training images, that carries its
    architecture.
    """
    require_method(method)
    views = views if METHODS[method].bank_teachers else 0
    if bank and views > len(bank.fixed):
        raise SecateurError(f"views={views}, and the bank holds {len(bank.fixed)} of each image; give at most as many")
    data = data.in_memory_format_of(net.model)
    model = initial_student(net, subnetwork, grams(net, data.train), data.train) if start is None else start
    classes = len(data.classes)
    width = embedding_width(model, net.head, classes)
    objective = METHODS[method].objective(MethodContext(net, bank, data.train.labels, classes, width, seed))
    usual = recipe or Recipe(bfloat16=in_bfloat16(RunConfig.precision, net))
    recipe = replace(usual, epochs=epochs, seed=seed, fixed_views=views, identity={"method": method})
    for step in train(model, data.train, objective, recipe, head=net.head, folder=folder):
        progress(f"fine-tuning ({method})", step.step, step.steps)
    training: dict[str, Any] = {"method": method, "epochs": epochs, "seed": seed, "precision": recipe.precision}
    training |= {"gates_open": []} | objective.metrics()
    shares = zip(bank.teachers if bank else (), training["gates_open"], strict=False)
    training["teachers"] = [{"macs": t.macs, "loss": t.loss, "open": share} for t, share in shares]
    return finalise(model, net, subnetwork, data, training)


def finalise(
    model: nn.Module, net: Supernet, subnetwork: Subnetwork, data: Data, training: Mapping[str, Any]
) -> nn.Module:
    """A network after its ``training``: batch norm recalibrated, its architecture with it, in evaluation mode."""
    recalibrate_as_trained(model, data.train)
    normalisation = {"mean": list(data.train.mean), "std": list(data.train.std)}
    about = {"training": training, "normalisation": normalisation, "classes": list(data.classes)}
    return with_architecture(model, architecture(net, subnetwork, **about)).eval()


def search_under(
    net: Supernet,
    data: Data,
    known: Mapping[str, Gram],
    plan: SearchPlan,
    folder: Path,
    precision: str,
    progress: Progress,
) -> Searched:
    """The search alone, kept in ``folder``; ``known`` Grams compensate what it scores. It reads the holdout."""
    (folder / "bank").mkdir(parents=True, exist_ok=True)
    path, bfloat16 = folder / "bank" / "records.jsonl", in_bfloat16(precision, net)
    records = Records(net, data.holdout, path, known, bfloat16)
    return search_widths(records, plan, folder, progress)


def bank_for(
    net: Supernet,
    data: Data,
    known: Mapping[str, Gram],
    searched: Searched,
    point: Subnetwork,
    folder: Path,
    extent: BankConfig,
    progress: Progress,
) -> MemoryBank:
    """The memory bank for a point of a search, in ``folder``/bank: what its teachers know of the training images.

    The winner's is bank.json; another point's has a plan of its own there, and shares what teachers they share.
    """
    teachers, train = choose_teachers(searched.interims, net.dense, point)[: extent.teachers], data.train
    size = extent.bytes(
        len(train), len(data.classes), embedding_width(net.model, net.head, len(data.classes)), len(teachers)
    )
    fewer = f", {len(teachers)} teachers" if len(teachers) < extent.teachers else ""
    what = f"memory bank, {size / 1e6:.3g} MB{fewer}"
    location = BankLocation(folder / "bank", data.fingerprint, manifest_name(point, searched.winner.subnetwork))
    total = len(teachers) * (1 + extent.views) * len(train)
    for done in fill_bank(net, teachers, train, location, grams=known, config=extent):
        progress(what, done, total)
    return open_bank(location, len(train))


def pdd(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    budget: str | None = None,
    params: str | None = None,
    epochs: int = RunConfig.epochs,
    seed: int = 0,
    precision: str = RunConfig.precision,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Pruning during distillation: masks over channels for half of the ``epochs``, then fine-tuning.

    ``budget`` (of MACs) and ``params`` are an extension; without, the width is what training leaves. Here as in the
    other methods the dense network teaches where no ``teacher`` is given, a ``folder`` is taken up where it ended,
    student and teacher run in ``precision``, a word of ``secateur.models.precision``, and a plain network comes back
    that carries its architecture.
    """
    method = Pdd(budget, params)
    training = Training(epochs, seed, precision, folder, method.identity)
    return prune_and_train(net, data, method, training, teacher=teacher, progress=progress)


def kddp(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    neurons: str = RunConfig.neurons,
    epochs: int = RunConfig.epochs,
    seed: int = 0,
    precision: str = RunConfig.precision,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Distillation with dynamic pruning: idle neurons go during half of the ``epochs``, then distillation goes on."""
    method = Kddp(strength, neurons)
    training = Training(epochs, seed, precision, folder, method.identity)
    return prune_and_train(net, data, method, training, teacher=teacher, progress=progress)


def blockwise(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    strengths: Mapping[str, float] | None = None,
    constraint: str = RunConfig.constraint,
    blocks: str = RunConfig.blocks,
    epochs: int = RunConfig.epochs,
    seed: int = 0,
    precision: str = RunConfig.precision,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Block-wise structure learning: batch-norm scales have a price for half of the ``epochs``, then distillation.

    ``strengths``: what the strength is multiplied by in the groups of these names, with wildcards.
    """
    method = Blockwise(strength, strengths, constraint, blocks)
    training = Training(epochs, seed, precision, folder, method.identity)
    return prune_and_train(net, data, method, training, teacher=teacher, progress=progress)


def finish(
    net: Supernet,
    data: Data,
    learner: Learner,
    recipe: Recipe,
    *,
    method: str,
    folder: Path | None,
    progress: Progress,
) -> nn.Module:
    """The second half: the slimmed network is trained, recalibrated, and given its architecture."""
    kept, model = learner.kept(), learner.slimmed()
    for step in train(model, data.train, learner.second_objective, recipe, head=net.head, folder=folder):
        progress(f"fine-tuning ({method})", step.step, step.steps)
    training = {"method": method, "epochs": recipe.epochs, "seed": recipe.seed, "precision": recipe.precision}
    training |= {"form": learner.description, "gates_open": []}
    return finalise(model, net, kept, data, training)


def prune_and_train(
    net: Supernet,
    data: Data,
    method: JointMethod,
    training: Training,
    *,
    teacher: nn.Module | None,
    progress: Progress,
) -> nn.Module:
    """Both halves of a method that learns widths: find them, then train the network that has them."""
    first, second = training.recipes(net)
    data = data.in_memory_format_of(net.model)
    learner = method.learner(net, teacher, data.train, first)
    follow(learn_widths(learner, data.train, first, folder=training.learn_folder), progress)
    folder = training.transfer_folder
    return finish(net, data, learner, second, method=method.name, folder=folder, progress=progress)
