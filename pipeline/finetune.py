"""Train a slim network with the knowledge of a memory bank, a dense teacher, or labels alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ..data.dataset import Data
from ..errors import SecateurError
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..progress import Epoch, Observer, Progress, ignore, silent
from ..rundir.options import TransferOptions
from ..signatures import checked
from ..transfer.bank.bank import MemoryBank
from ..transfer.methods import METHODS, MethodContext, require_method, require_teachable
from ..transfer.objectives.base import Objective
from ..transfer.training.distributed import world
from ..transfer.training.recipe import Recipe
from .fit import require_fit
from .session import Session


@checked
def finetune(
    net: Supernet,
    subnetwork: Subnetwork,
    bank: MemoryBank | None,
    data: Data,
    *,
    epochs: int = TransferOptions.epochs,
    method: str = TransferOptions.method,
    objective: Callable[[MethodContext], Objective] | None = None,
    seed: int = 0,
    views: int | None = None,
    recipe: Recipe | None = None,
    folder: Path | str | None = None,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> nn.Module:
    """Build a subnetwork and train it.

    Args:
        net: the traced dense network.
        subnetwork: the channels to keep, such as ``found.best()``.
        bank: the memory bank, such as ``found.bank``; not needed by aligned, kd, dkd, crd, ce and an objective
            of your own.
        data: its samples, and the task that judges outputs.
        epochs: of training.
        method: a name from ``METHODS``: ``"ckt"``, ``"kd"``, ``"ce"``, ...
        objective: your own method instead: a function from a ``MethodContext`` to an ``Objective``.
        seed: the same seed gives the same weights on the same machine.
        views: fixed augmentations per image that training cycles through, for methods that use the bank; each is new
            with 0, with other methods, and without a bank. By default as many as the bank holds, at most three.
        recipe: everything else about training, such as ``sc.Recipe(batch=32, learning_rate=0.01)``; by default the
            usual one for this number of images, ``sc.Recipe.fitted``, in bfloat16 where the device computes in it.
        folder: where checkpoints and metrics.jsonl are kept; training resumes from them.
        student: the network of these widths to train, in place; by default one halfway from inherited to compensated
            weights.
        teacher: another network that teaches instead of the dense one, by kd and dkd.
        progress: called with (what, done, total).
        on_epoch: called after every epoch, with loss, learning rate and holdout score.

    Returns:
        A plain module in evaluation mode that carries its architecture, its batch norm recalibrated on training images.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> model = sc.constructor("resnet20", len(data.classes))()
    >>> net = sc.Supernet.of(model.eval(), data.example)
    >>> student = sc.finetune(net, net.dense, None, data, epochs=1, method="ce")
    >>> type(student).__name__
    'ResNet'
    """
    require_fit(net, data)
    folder = None if folder is None else Path(folder)
    if isinstance(objective, nn.Module):
        kind = type(objective).__name__
        raise SecateurError(
            f"objective is a {kind}; pass a function that makes an Objective, or a loss as sc.Task(loss=)"
        )
    if objective is None:
        require_method(method)
        if teacher is not None:
            require_teachable(method)
    name = method if objective is None else getattr(objective, "__name__", type(objective).__name__)
    reads = bank is not None and objective is None and METHODS[method].bank_teachers > 0
    held = len(bank.fixed) if bank else 0
    views = (min(TransferOptions.views, held) if views is None else views) if reads else 0
    if views > held:
        raise SecateurError(f"views={views}, and the bank holds {held} of each image; pass at most as many")
    session = Session(net, data, folder or Path(), progress=Observer(progress, on_epoch))
    recipe = replace(recipe or session.recipe(), epochs=epochs, seed=seed, fixed_views=views, identity={"method": name})
    model = session.initial_student(subnetwork) if student is None else student
    return tuned(
        session, Tuning(subnetwork, model, bank, recipe, folder, teacher), objective or METHODS[method].objective
    )


@dataclass(frozen=True, eq=False)
class Tuning:
    """One fine-tuning: a ``model`` of these widths, the bank it may use, how it is trained, and where its files go.

    ``teacher``: instead of the dense network.
    """

    subnetwork: Subnetwork
    model: nn.Module
    bank: MemoryBank | None
    recipe: Recipe
    folder: Path | None
    teacher: nn.Module | None = None


def tuned(session: Session, tuning: Tuning, make: Callable[[MethodContext], Objective]) -> nn.Module:
    """The network after its training by the objective that ``make`` makes."""
    model, recipe = tuning.model, tuning.recipe
    context = session.context(model, tuning.subnetwork, bank=tuning.bank, seed=recipe.seed, teacher=tuning.teacher)
    objective = make(context)
    what = f"fine-tuning ({recipe.identity['method']})"
    session.train(model, objective, recipe, folder=tuning.folder, what=what)
    if tuning.bank and tuning.bank.source and world().first:
        tuning.bank.source.end()
    return session.finalise(model, tuning.subnetwork, _training(recipe, objective, tuning.bank))


def _training(recipe: Recipe, objective: Objective, bank: MemoryBank | None) -> dict[str, Any]:
    """What an architecture says about its training."""
    method = recipe.identity["method"]
    how = {"method": method, "epochs": recipe.epochs, "seed": recipe.seed, "precision": recipe.precision}
    metrics: dict[str, Any] = {"gates_open": [], **objective.metrics()}
    used = zip(bank.teachers if bank else (), metrics["gates_open"], strict=False)
    return {**how, **metrics, "teachers": [{"macs": t.macs, "loss": t.loss, "open": share} for t, share in used]}
