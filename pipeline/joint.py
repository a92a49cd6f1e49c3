"""Learn the widths of a network while it is distilled: PDD, KDDP, block-wise structure learning."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from ..data.dataset import Data
from ..models.supernet import Supernet
from ..progress import Epoch, Observer, Progress, follow, ignore, silent
from ..rundir.options import JointOptions, TransferOptions
from ..transfer.joint.learner import Learner
from ..transfer.joint.methods import Blockwise, JointMethod, Kddp, Pdd
from ..transfer.joint.train import Training, learn_widths
from ..transfer.objectives.base import require_divergence
from ..transfer.training.recipe import Recipe
from .fit import require_data, require_fit
from .session import Session


def pdd(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    budget: str | None = None,
    params: str | None = None,
    epochs: int = TransferOptions.epochs,
    seed: int = 0,
    precision: str = "auto",
    recipe: Recipe | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> nn.Module:
    """Pruning during distillation: masks over channels for half of the epochs, then fine-tuning.

    Args:
        net: the traced network; it is the student's start.
        data: its images.
        teacher: another network that teaches; by default the dense network.
        budget: MACs to keep, an extension; without a limit the widths are what training leaves.
        params: parameters to keep, likewise.
        epochs: of both halves together.
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
    require_data(data)
    method = Pdd(budget, params)
    training = Training(epochs, seed, precision, folder, method.identity, recipe or Recipe.fitted(len(data.train)))
    return _prune_and_train(_session(net, data, training, Observer(progress, on_epoch)), method, training, teacher)


def kddp(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    neurons: str = JointOptions.neurons,
    epochs: int = TransferOptions.epochs,
    seed: int = 0,
    precision: str = "auto",
    recipe: Recipe | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> nn.Module:
    """Distillation with dynamic pruning: idle neurons are removed during half of the epochs; distillation continues.

    Args:
        net: the traced network; it is the student's start.
        data: its images.
        teacher: another network that teaches; by default the dense network.
        strength: of the penalty on activations; 0.1 by default.
        neurons: ``"hidden"``, those of hidden linear layers, or ``"all"``, feature maps too.
        epochs: of both halves together.
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
    require_data(data)
    method = Kddp(strength, neurons)
    training = Training(epochs, seed, precision, folder, method.identity, recipe or Recipe.fitted(len(data.train)))
    return _prune_and_train(_session(net, data, training, Observer(progress, on_epoch)), method, training, teacher)


def blockwise(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    strengths: Mapping[str, float] | None = None,
    constraint: str = JointOptions.constraint,
    blocks: str = JointOptions.blocks,
    epochs: int = TransferOptions.epochs,
    seed: int = 0,
    precision: str = "auto",
    recipe: Recipe | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> nn.Module:
    """Block-wise structure learning: a penalty on batch-norm scales for half of the epochs, then distillation.

    Args:
        net: the traced network; it is the student's start.
        data: its images.
        teacher: another network that teaches; by default the dense network.
        strength: of the penalty; 2 by default.
        strengths: factors of the strength by group name, with wildcards.
        constraint: ``"flops"`` or ``"params"``, the cost that a channel's penalty is proportional to.
        blocks: ``"together"``, or ``"in-turn"``, one after the other, with a loss on the block's features.
        epochs: of both halves together.
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
    require_data(data)
    method = Blockwise(strength, strengths, constraint, blocks)
    training = Training(epochs, seed, precision, folder, method.identity, recipe or Recipe.fitted(len(data.train)))
    return _prune_and_train(_session(net, data, training, Observer(progress, on_epoch)), method, training, teacher)


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
    """Both halves: find the widths, then train the network that has them."""
    first, second = training.recipes(session.net)
    learner = method.learner(session.net, teacher, session.data.train, first)
    data, folder = session.data, training.learn_folder
    follow(learn_widths(learner, data.train, first, folder=folder, holdout=data.holdout), session.progress)
    return finish(session, learner, second, method=method.name, folder=training.transfer_folder)
