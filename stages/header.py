"""What a run is about to do, in six lines, before anything costs time; a dense network at chance ends it there."""

from collections.abc import Iterator

import torch

from ..errors import SecateurError
from ..models.costs.units import format_quantity
from ..models.evaluate import device_of, evaluate
from ..models.score import Score
from ..models.tasks.classification import Classification
from ..models.timing.steps import counted
from ..pipeline.chance import chance_of
from ..pipeline.session import Session
from ..progress import Observer, ignore
from ..rundir.config import RunConfig
from .joint_run import JointRun
from .search_run import SearchRun

IMAGES = 1000  # of the holdout, that score the dense network here
NAMED = 3  # classes


def announce(work: SearchRun | JointRun, observer: Observer, *, anyway: bool) -> None:
    """Say what is about to happen. Raises SecateurError where trained weights do no better than chance.

    Args:
        work: the run, before its first stage.
        observer: whose ``say`` is called with each line.
        anyway: whether a network at chance is only said.
    """
    if anyway and observer.say is ignore:
        return
    config, session = work.config, work.session
    for line in _lines(work):
        observer.say(line)
    if not config.trained:
        teacher = config.joint.teacher if config.learns_widths else None
        observer.say(f"dense network: no weights; {f'taught by {teacher}' if teacher else 'it is trained first'}")
        return
    score = dense_score(session)
    observer.say(f"dense network: {score} on {score.n} holdout images, loss {score.loss:.4g}")
    if (chance := chance_of(score, session.data)) and not anyway:
        raise SecateurError(_at_chance(score, chance, session))


def dense_score(session: Session) -> Score:
    """The dense network's score on a part of the holdout."""
    return evaluate(session.net.model, session.data.holdout, IMAGES)


def _lines(work: SearchRun | JointRun) -> Iterator[str]:
    config, session = work.config, work.session
    data = session.data
    weights = f" ({config.weights})" if config.weights else ""
    yield f"network: {config.model}{weights}, {_outputs(session)}"
    yield f"input: {'x'.join(map(str, data.shape))}, {_normalisation(session)}"
    yield (
        f"images: {len(data.train)} to train on and fill the bank with, {len(data.holdout)} in the holdout that scores "
        f"the search, {len(data.test)} to test at the end{f' ({data.note})' if data.note else ''}"
    )
    yield f"device: {_device(session)}, {'bfloat16' if session.bfloat16 else 'float32'}"
    yield f"budget: {_budget(work, config)}"


def _outputs(session: Session) -> str:
    data = session.data
    if not isinstance(data.task, Classification):
        return f"task {type(data.task).__name__}, judged by {data.task.metric.name}"
    more = ", ..." if len(data.classes) > NAMED else ""
    return f"{len(data.classes)} classes ({', '.join(data.classes[:NAMED])}{more})"


def _normalisation(session: Session) -> str:
    normalisation = session.data.train.normalisation
    if normalisation is None:
        return "as the data set has it"
    mean, std = (" ".join(f"{each:.4g}" for each in channels) for channels in normalisation)
    return f"mean {mean}, std {std}"


def _device(session: Session) -> str:
    device = device_of(session.net.model)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _budget(work: SearchRun | JointRun, config: RunConfig) -> str:
    net = work.session.net
    dense = f"{format_quantity(net.macs(net.dense))} MACs"
    if isinstance(work, JointRun):
        return f"{config.goal}, of {dense}"
    widths = f"; {_grid(net.space.steps.tolist(), config)}"
    span = work.search_config.span
    ends = [span.low] if span.is_single else [span.low, span.high]
    if "macs" not in span.low.limits:
        return f"{config.goal}, of {dense}{widths}"
    return f"{config.goal}: {' to '.join(format_quantity(end.macs) for end in ends)} of {dense}{widths}"


def _grid(steps: list[int], config: RunConfig) -> str:
    """The widths that the search chooses from, and why where nobody asked for them."""
    multiples = f"in multiples of {counted(steps)}" if max(steps, default=1) > 1 else "of any number"
    measured = f", as pays in {config.constraints.runtime} here" if config.constraints.divisor == "auto" else ""
    return f"widths {multiples}{measured}"


def _at_chance(score: Score, chance: str, session: Session) -> str:
    reached = f"{score} of {score.n} holdout images" if score.is_share else f"a loss of {score.loss:.4g}"
    names = session.data.classes[:NAMED]
    order = f", and the order of the classes ({', '.join(names)}, ...)" if names else ""
    return (
        f"the dense network reaches {reached}, and chance {chance}; check --weights, --mean and --std, --input{order}, "
        "or pass --anyway"
    )
