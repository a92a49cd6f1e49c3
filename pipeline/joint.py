"""Learn the widths of a network while it is distilled: PDD, KDDP, block-wise structure learning."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from ..data.dataset import Data
from ..models.supernet import Supernet
from ..progress import Progress, silent
from ..rundir.options import JointOptions, TransferOptions
from ..transfer.joint.learner import Learner
from ..transfer.joint.pdd import pdd_learner
from ..transfer.joint.train import blockwise_learner_for, kddp_learner_for, learn_widths, split_recipe
from ..transfer.training.train import Recipe
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
    folder: Path | None = None,
    progress: Progress = silent,
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
        folder: keeps checkpoints and is resumed.
        progress: called with (what, done, total).

    Returns:
        A plain network that carries its architecture.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 16, 16))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> student = sc.pdd(net, data, budget="50%", epochs=2)
    """
    limits = net.budget(budget, params=params) if budget or params else None
    learner = pdd_learner(net, teacher or net.model, budget=limits, seed=seed)
    recipes = split_recipe(net, epochs, seed, precision, f"pdd {budget} {params}")
    return _prune_and_train(Session(net, data, folder or Path(), precision, progress), learner, "pdd", recipes, folder)


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
    folder: Path | None = None,
    progress: Progress = silent,
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
        folder: keeps checkpoints and is resumed.
        progress: called with (what, done, total).

    Returns:
        A plain network that carries its architecture.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 16, 16))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> student = sc.kddp(net, data, epochs=2)
    """
    recipes = split_recipe(net, epochs, seed, precision, f"kddp {strength} {neurons}")
    learner = kddp_learner_for(net, teacher, data.train, recipes[0], strength, neurons)
    return _prune_and_train(Session(net, data, folder or Path(), precision, progress), learner, "kddp", recipes, folder)


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
    folder: Path | None = None,
    progress: Progress = silent,
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
        folder: keeps checkpoints and is resumed.
        progress: called with (what, done, total).

    Returns:
        A plain network that carries its architecture.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 16, 16))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> student = sc.blockwise(net, data, epochs=2)
    """
    recipes = split_recipe(net, epochs, seed, precision, f"blockwise {strength} {strengths} {constraint} {blocks}")
    learner = blockwise_learner_for(net, teacher, data.train, recipes[0], strength, strengths or {}, constraint, blocks)
    session = Session(net, data, folder or Path(), precision, progress)
    return _prune_and_train(session, learner, "blockwise", recipes, folder)


def finish(session: Session, learner: Learner, method: str, recipe: Recipe, folder: Path | None) -> nn.Module:
    """The second half: the slimmed network is trained, recalibrated, and given its architecture."""
    kept, model = learner.kept(), learner.slimmed()
    session.train(model, learner.second_objective, recipe, folder, f"fine-tuning ({method})")
    training = {"method": method, "epochs": recipe.epochs, "seed": recipe.seed, "precision": recipe.precision}
    return session.finalise(model, kept, {**training, "form": learner.description, "gates_open": []})


def _prune_and_train(
    session: Session, learner: Learner, method: str, recipes: tuple[Recipe, Recipe], folder: Path | None
) -> nn.Module:
    first, second = recipes
    learn_widths(learner, session.data.train, first, folder / "learn" if folder else None, session.progress)
    return finish(session, learner, method, second, folder / "transfer" if folder else None)
