"""Learn the widths of a network while it is distilled: PDD, KDDP, block-wise structure learning."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..data.dataset import Data
from ..models.supernet import Supernet
from ..progress import Epoch, Observer, Progress, follow, ignore, silent
from ..rundir.config import RunConfig
from ..rundir.options import JointOptions, TransferOptions
from ..signatures import checked
from ..transfer.joint.learner import Learner
from ..transfer.joint.methods import Assignment, Blockwise, JointMethod, Kddp, Pdd
from ..transfer.joint.train import Training, learn_widths
from ..transfer.objectives.base import require_divergence
from ..transfer.training.recipe import Recipe
from .fit import require_fit
from .session import Session


@checked
def pdd(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    start: str = JointOptions.from_,
    spread: float | None = None,
    budget: str | None = None,
    params: str | None = None,
    epochs: int = TransferOptions.epochs,
    seed: int = 0,
    precision: str = "auto",
    recipe: Recipe | None = None,
    folder: Path | str | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> nn.Module:
    """Pruning during distillation: masks over channels for a quarter of the epochs, then fine-tuning.

    Args:
        net: the traced network; it is the student's architecture, and its start if that is ``"trained"``.
        data: its images.
        teacher: another network that teaches; by default the dense network.
        start: ``"fresh"``, a student with new weights, half of whose channels are closed at random; or ``"trained"``,
            the weights of ``net``, of which the least important half is closed.
        spread: standard deviation of the masks at the start; the wider, the fewer channels training opens again. By
            default 0.001 (fresh) or 1 (trained).
        budget: MACs to keep, an extension; without a limit the widths are what training leaves.
        params: parameters to keep, likewise.
        epochs: of both parts together.
        seed: the same seed gives the same result on the same machine.
        precision: of student and teacher: ``"float32"``, ``"bfloat16"`` or ``"auto"``.
        recipe: optimizer, batch and schedule, such as ``sc.Recipe(batch=32)``; by default ``sc.Recipe.fitted``.
        folder: keeps checkpoints and is resumed.
        progress: called with (what, done, total).
        on_epoch: called after every epoch, with loss, learning rate and holdout score.

    Returns:
        A plain network that carries its architecture.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> student = sc.pdd(net, data, budget="50%", epochs=2)
    """
    method = Pdd(budget, params, start, spread)
    training = _training(method, data, recipe, epochs=epochs, seed=seed, precision=precision, folder=folder)
    return _prune_and_train(_session(net, data, training, Observer(progress, on_epoch)), method, training, teacher)


@checked
def kddp(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    neurons: str = JointOptions.neurons,
    tolerance: float = 0.01,
    epochs: int = TransferOptions.epochs,
    seed: int = 0,
    precision: str = "auto",
    recipe: Recipe | None = None,
    folder: Path | str | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> nn.Module:
    """Distillation with dynamic pruning: idle neurons are removed during half of the epochs; distillation continues.

    Args:
        net: the traced network; it is the student's start.
        data: its images.
        teacher: another network that teaches; by default the dense network.
        strength: of the penalty on activations; by default it is found, within the tolerance.
        neurons: ``"all"``, or ``"hidden"``, those of hidden linear layers alone, as published.
        tolerance: by what share the loss on the holdout may rise while the strength is found.
        epochs: of both parts together.
        seed: the same seed gives the same result on the same machine.
        precision: of student and teacher: ``"float32"``, ``"bfloat16"`` or ``"auto"``.
        recipe: optimizer, batch and schedule, such as ``sc.Recipe(batch=32)``; by default ``sc.Recipe.fitted``.
        folder: keeps checkpoints and is resumed.
        progress: called with (what, done, total).
        on_epoch: called after every epoch, with loss, learning rate and holdout score.

    Returns:
        A plain network that carries its architecture.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> student = sc.kddp(net, data, epochs=2)
    """
    method = Kddp(strength, neurons, tolerance)
    training = _training(method, data, recipe, epochs=epochs, seed=seed, precision=precision, folder=folder)
    return _prune_and_train(_session(net, data, training, Observer(progress, on_epoch)), method, training, teacher)


@checked
def blockwise(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    strengths: Mapping[str, float] | None = None,
    constraint: str = JointOptions.constraint,
    blocks: str = JointOptions.blocks,
    budget: str | None = None,
    params: str | None = None,
    epochs: int = TransferOptions.epochs,
    seed: int = 0,
    precision: str = "auto",
    recipe: Recipe | None = None,
    folder: Path | str | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> nn.Module:
    """Block-wise structure learning: batch-norm scales are made sparse for half of the epochs, then distillation.

    Args:
        net: the traced network; it is the student's start.
        data: its images.
        teacher: another network that teaches; by default the dense network.
        strength: of a penalty that does not change; by default strengths are raised until a budget is met.
        strengths: factors of the strength by group name, with wildcards.
        constraint: ``"flops"`` or ``"params"``, the cost that a channel's penalty is proportional to.
        blocks: ``"together"``, or ``"in-turn"``, one after the other, with a loss on the block's features.
        budget: MACs to keep; ``"50%"`` if nothing else is passed.
        params: parameters to keep.
        epochs: of both parts together.
        seed: the same seed gives the same result on the same machine.
        precision: of student and teacher: ``"float32"``, ``"bfloat16"`` or ``"auto"``.
        recipe: optimizer, batch and schedule, such as ``sc.Recipe(batch=32)``; by default ``sc.Recipe.fitted``.
        folder: keeps checkpoints and is resumed.
        progress: called with (what, done, total).
        on_epoch: called after every epoch, with loss, learning rate and holdout score.

    Returns:
        A plain network that carries its architecture.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> student = sc.blockwise(net, data, epochs=2)
    """
    method = Blockwise(strength, strengths, constraint, blocks, budget, params)
    training = _training(method, data, recipe, epochs=epochs, seed=seed, precision=precision, folder=folder)
    return _prune_and_train(_session(net, data, training, Observer(progress, on_epoch)), method, training, teacher)


def method_of(config: RunConfig) -> JointMethod:
    """The method that a run is configured for, with its options.

    >>> from secateur.rundir.config import ask
    >>> method_of(ask(method="kddp", tolerance="2%"))
    Kddp(strength=None, neurons='all', tolerance=0.02)
    """
    joint, limits = config.joint, config.budget
    if config.transfer.method == "pdd":
        return Pdd(limits.flops, limits.params, joint.from_, joint.spread)
    if config.transfer.method == "kddp":
        return Kddp(joint.strength, joint.neurons, joint.tolerated)
    return Blockwise(joint.strength, joint.strengths, joint.constraint, joint.blocks, limits.flops, limits.params)


def _training(
    method: JointMethod, data: Data, recipe: Recipe | None, *, folder: Path | str | None, **how: Any
) -> Training:
    """Both parts, in the method's proportions."""
    fitted = recipe or Recipe.fitted(len(data.train))
    how["folder"] = None if folder is None else Path(folder)
    return Training(**how, identity=method.identity, recipe=fitted, learning=method.learning)


def finish(session: Session, learner: Learner, recipe: Recipe, *, method: str, folder: Path | None) -> nn.Module:
    """The second half: the slimmed network is trained, recalibrated, and given its architecture."""
    kept, model = learner.subnetwork(), learner.slimmed()
    session.train(model, learner.second_objective, recipe, folder=folder, what=f"fine-tuning ({method})")
    training = {"method": method, "epochs": recipe.epochs, "seed": recipe.seed, "precision": recipe.precision}
    return session.finalise(model, kept, {**training, "form": learner.description, "gates_open": []})


def _session(net: Supernet, data: Data, training: Training, progress: Progress) -> Session:
    require_fit(net, data)
    require_divergence(data.task)
    return Session(net, data, training.folder or Path(), training.precision, progress)


def _prune_and_train(session: Session, method: JointMethod, training: Training, teacher: nn.Module | None) -> nn.Module:
    """Both parts: find the widths, then train the network that has them."""
    first, second = training.recipes(session.net)
    net, data, folder = session.net, session.data, training.learn_folder
    learner = method.learner(Assignment(net, teacher or net.model, data.train, first, data.holdout))
    follow(learn_widths(learner, data.train, first, folder=folder, holdout=data.holdout), session.progress)
    return finish(session, learner, second, method=method.name, folder=training.transfer_folder)
