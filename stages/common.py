"""What every kind of run does: train a network for digits, test what came out, write the front."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import SecateurError
from ..files import RESTORE, write_whole
from ..models.class_scores import ClassScore
from ..models.evaluate import device_of, evaluate, evaluate_by_class
from ..models.files.architecture import architecture_of, save, with_architecture
from ..models.files.networks import load, network_called
from ..models.files.place import ARCHITECTURE, WEIGHTS
from ..models.files.schema import read_architecture
from ..models.files.tensors import is_damaged, read_network, write_network
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..pipeline.session import Session
from ..rundir.classes import class_table, write_classes
from ..rundir.config import RunConfig
from ..rundir.outcomes import EvaluationStage, Figures, NetworkStage
from ..transfer.objectives.base import CrossEntropy
from ..transfer.training.recipe import Recipe
from ..transfer.training.train import train

DIGITS = Recipe(epochs=12, batch=64, warmup=1)  # of a digits network that has no weights


def train_from_scratch(session: Session, model: nn.Module, name: str, seed: int) -> NetworkStage:
    """Train a network on labels, and keep it in the folder of that name."""
    folder, data = session.folder / name, session.data
    recipe = replace(DIGITS, seed=seed)
    steps = train(model, data.train, CrossEntropy(), recipe, folder=folder, holdout=data.holdout)
    session.follow(steps, f"training the {name} network")
    write_whole(folder / "weights.safetensors", lambda partial: write_network(model, partial))
    return NetworkStage(epochs=DIGITS.epochs, images=len(data.train))


def dense_stage(session: Session, config: RunConfig) -> NetworkStage:
    """Digits needs no weights: there the dense network is trained first, and kept."""
    if config.trained:
        images = len(session.data.train)
        return NetworkStage(weights=config.trained, classes=len(session.data.classes), images=images)
    return train_from_scratch(session, session.net.model, "dense", config.seed)


def teacher_stage(session: Session, config: RunConfig, teacher: Supernet | None) -> NetworkStage:
    """The teacher; digits needs no weights for it, either."""
    if teacher is None or config.teacher_trained:
        return NetworkStage(weights=config.teacher_trained or "the dense network's")
    return train_from_scratch(session, teacher.model, "teacher", config.seed)


def restore_teacher(session: Session, config: RunConfig, teacher: Supernet | None) -> None:
    """Load the weights of the teacher that was trained here."""
    if teacher and not config.teacher_trained:
        restore_weights(session, teacher.model, "teacher")


def restore_weights(session: Session, model: nn.Module, name: str) -> None:
    """Load what ``train_from_scratch`` kept."""
    path = session.folder / name / "weights.safetensors"
    read_network(model, path, f"does not fit the {name} network", RESTORE)


def restore_best(session: Session, again: Callable[[], object]) -> None:
    """Have the network in best/ made ``again``, from the last checkpoint, where it is damaged or gone."""
    best = session.folder / "best"
    if _is_whole(best):
        return
    session.progress(f"{best} is damaged or gone: it is made again from the checkpoint", 0, 1)
    again()


def _is_whole(kept: Path) -> bool:
    """Whether the files of a slim network are as they were written."""
    with suppress(SecateurError):
        read_architecture(kept / ARCHITECTURE)
        return not is_damaged(kept / WEIGHTS)
    return False


def figures(
    session: Session, model: nn.Module, net: Supernet, subnetwork: Subnetwork
) -> tuple[Figures, dict[int, ClassScore]]:
    """Holdout and test score of a network, and its costs; and the test score of each class by its number."""
    holdout = evaluate(model, session.data.holdout)
    test, classes = evaluate_by_class(model, session.data.test)
    costs = {"macs": net.macs(subnetwork), "parameters": net.parameters(subnetwork)}
    return Figures(holdout=holdout, test=test, **costs), classes


def kept_network(session: Session, config: RunConfig, best: Path) -> nn.Module:
    """The fine-tuned network that was kept in ``best``, where the dense one is."""
    slim = load(best, network_called(config.model, len(session.data.classes)))
    return slim.to(device_of(session.net.model)).eval()


def evaluation_stage(
    session: Session,
    config: RunConfig,
    subnetwork: Subnetwork,
    pruned: nn.Module,
    *,
    best: Path,
    teacher: Supernet | None = None,
) -> EvaluationStage:
    """Figures of the network kept in ``best``, of the dense and the pruned one, and of a teacher that is another one.

    They are written into the architecture in ``best``, and those of each class into classes.json there.
    """
    net, tuned = session.net, kept_network(session, config, best)
    networks = {
        "dense": (net.model, net, net.dense),
        "pruned": (pruned, net, subnetwork),
        "tuned": (tuned, net, subnetwork),
        **({"teacher": (teacher.model, teacher, teacher.dense)} if teacher else {}),
    }
    judged = {name: figures(session, *network) for name, network in networks.items()}
    whole: dict[str, Any] = {name: costs_and_scores for name, (costs_and_scores, _) in judged.items()}
    found = EvaluationStage(**whole)
    names, by_class = session.data.classes, {name: classes for name, (_, classes) in judged.items()}
    if table := class_table(session.data.task.metric, names, by_class):
        write_classes(table, best)
    plain = {name: value for name, value in found.to_dict().items() if name != "seconds"}
    record = {**architecture_of(tuned), "figures": plain, "provenance": config.to_dict()}
    save(with_architecture(tuned, record), best)
    return found
