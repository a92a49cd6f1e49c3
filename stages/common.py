"""What every kind of run does: train a network for digits, test what came out, write the front."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..files import RESTORE, write_json, write_whole
from ..models.evaluate import device_of, evaluate
from ..models.files.architecture import architecture, architecture_of, load, save, with_architecture
from ..models.files.library import FORMAT
from ..models.files.schema import Record
from ..models.files.tensors import read_network, write_network
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.zoo.registry import constructor
from ..pipeline.session import Session
from ..rundir.config import RunConfig
from ..rundir.outcomes import EvaluationStage, Figures, NetworkStage
from ..search.records import Interim
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
    return NetworkStage(epochs=DIGITS.epochs)


def dense_stage(session: Session, config: RunConfig) -> NetworkStage:
    """Digits needs no weights: there the dense network is trained first, and kept."""
    if config.trained:
        return NetworkStage(weights=config.trained, classes=len(session.data.classes))
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


def figures(session: Session, model: nn.Module, net: Supernet, subnetwork: Subnetwork) -> Figures:
    """Holdout and test score of a network, and what it costs."""
    holdout, test = (evaluate(model, split) for split in (session.data.holdout, session.data.test))
    return Figures(holdout=holdout, test=test, macs=net.macs(subnetwork), parameters=net.parameters(subnetwork))


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

    They are written into the architecture in ``best``.
    """
    net = session.net
    tuned = load(best, constructor(config.model, len(session.data.classes))).to(device_of(net.model)).eval()
    found = EvaluationStage(
        dense=figures(session, net.model, net, net.dense),
        pruned=figures(session, pruned, net, subnetwork),
        tuned=figures(session, tuned, net, subnetwork),
        teacher=figures(session, teacher.model, teacher, teacher.dense) if teacher else None,
    )
    plain = {name: value for name, value in found.to_dict().items() if name != "seconds"}
    record = {**architecture_of(tuned), "figures": plain, "provenance": config.to_dict()}
    save(with_architecture(tuned, record), best)
    return found


def write_front(
    session: Session, config: RunConfig, winner: Interim, points: Sequence[Interim], *, budget: dict[str, Any]
) -> None:
    """The winner (scored on the whole holdout) and the points of the front (on the sample), whole architectures."""

    def whole(point: Interim) -> Record:
        scores = {"holdout": point.score.to_dict()}
        source = {"model": config.model, "data": config.images.data, "seed": config.seed, "source": point.source}
        return architecture(session.net, point.subnetwork, figures=scores, provenance=source)

    front = {"winner": whole(winner), "points": [whole(point) for point in points]}
    write_json(session.folder / "front.json", {"format": FORMAT, "budget": budget, **front}, indent=None)
