"""Everything that the stages of a run share, and what is wrong with it, before anything is trained or written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import SecateurError
from ..files import write_text
from ..models.costs.budget_range import BudgetRange
from ..models.evaluate import device_of
from ..models.files.library import architectures, keep_shares, most_similar
from ..models.files.schema import fingerprint
from ..models.supernet import Supernet
from ..models.timing.latency import Latency, measure
from ..models.timing.steps import Steps, measured_steps
from ..models.tracing.atoms import FloatArray
from ..models.zoo.registry import constructor
from ..models.zoo.weights import load_weights, weights_file
from ..pipeline.fit import require_fit
from ..pipeline.images import open_run_data
from ..pipeline.session import Session
from ..progress import Progress
from ..rundir.config import RunConfig
from ..rundir.manifest import Manifest, require_same, sha256
from ..rundir.options import JOINT_METHODS
from ..search.config import SearchConfig, sampler_called
from ..search.refine.database import require_database
from ..transfer.methods import require_method
from ..transfer.objectives.base import require_divergence
from .joint_run import JointRun
from .search_run import SearchRun

STARTS = 5  # at most, of the architectures that --start names
STEPS_FILE = "steps.json"  # in the run directory: what --divisor auto measured
LATENCY_FILE = "latency.json"  # in the run directory: the table that a budget of latency is measured by


def prepare_run(
    config: RunConfig, out: Path, device: str | None, progress: Progress, *, began: RunConfig | None = None
) -> tuple[SearchRun | JointRun, Manifest]:
    """The work of a run, and its manifest.

    ``began``: the configuration in the run directory, where the network or the data are named in another way now;
    both have to be the same.
    """
    began = began or config
    _require_consistent(config, out, began)
    session = _session(config, out, device, progress)
    if steps := _steps(config, session.net, out, progress):
        session = replace(session, net=session.net.in_steps(steps.steps))
    net = session.net
    timed = _timed(net, out, config.constraints.runtime, progress) if config.budget.latency else None
    if config.learns_widths:
        work: SearchRun | JointRun = _joint_run(config, session)
    else:
        work = SearchRun(config, session, _search_config(config, net, timed))
    manifest = Manifest(out, began)
    if timed:
        write_text(out / LATENCY_FILE, timed.to_json(net))
    if steps:
        write_text(out / STEPS_FILE, steps.to_json())
        manifest.require("steps of widths", str(steps))
    for name, mark in _fingerprints(config, session).items():
        manifest.require(name, mark)
    return work, manifest


def _require_consistent(config: RunConfig, out: Path, began: RunConfig) -> None:
    """Raise SecateurError for whatever can be found before an image is read."""
    joint, source = config.joint, config.images.data
    require_method(config.transfer.method, JOINT_METHODS)
    if config.trained is None and joint.teacher is None and source != "digits":
        raise SecateurError(f"no weights for {config.model} on {source}; pass --weights FILE of the trained network")
    if joint.teacher_weights and not joint.teacher:
        raise SecateurError("--teacher-weights are of no network; pass --teacher MODEL, too")
    require_same(out, began)
    for file in filter(None, (config.weights, joint.teacher_weights)):
        weights_file(file)
    if config.search.storage:
        require_database(config.search.storage)


def _session(config: RunConfig, out: Path, device: str | None, progress: Progress) -> Session:
    data = open_run_data(config, progress)
    torch.manual_seed(config.seed)
    model = constructor(config.model, len(data.classes))()
    if config.weights:
        load_weights(model, config.weights)
    wanted = config.constraints
    net = Supernet.of(
        _on(model, device),
        data.example,
        divisor=wanted.fixed_divisor,
        freeze=wanted.freeze,
        tie=wanted.ties,
        least=wanted.min_keep,
    )
    require_fit(net, data)
    if config.transfer.method != "ce":
        require_divergence(data.task)
    return Session(net, data, out, config.precision, progress)


def _search_config(config: RunConfig, net: Supernet, timed: Latency | None) -> SearchConfig:
    search, span = config.search, net.span(config.budget.spec, timed=timed)
    starts = _start_shares(Path(search.start), net, span) if search.start else []
    how: dict[str, Any] = {"sampler": sampler_called(search.sampler), "seed": config.seed}
    return SearchConfig(span, search.trials, storage=search.storage, start_shares=starts, **how)


def _joint_run(config: RunConfig, session: Session) -> JointRun:
    """The work of a run that learns widths; what is wrong with its options is found here."""
    work = JointRun(config, session, _teacher(config, session))
    work.make_learner()
    return work


def _teacher(config: RunConfig, session: Session) -> Supernet | None:
    joint, data = config.joint, session.data
    if joint.teacher is None:
        return None
    if config.teacher_trained is None and config.images.data != "digits":
        raise SecateurError(f"no weights for the teacher {joint.teacher}; pass --teacher-weights FILE")
    model = constructor(joint.teacher, len(data.classes))()
    if joint.teacher_weights:
        load_weights(model, joint.teacher_weights)
    teacher = Supernet.of(model.to(device_of(session.net.model)).eval(), data.example, check=False)
    require_fit(teacher, data)
    return teacher


def _fingerprints(config: RunConfig, session: Session) -> dict[str, str]:
    """What may not change between two starts of a run."""
    marks = {"data": session.data.fingerprint, "network": fingerprint(session.net)}
    marks["weights"] = sha256(weights_file(config.weights)) if config.weights else "none"
    if config.joint.teacher_weights:
        marks["teacher's weights"] = sha256(weights_file(config.joint.teacher_weights))
    return marks


def _steps(config: RunConfig, net: Supernet, out: Path, progress: Progress) -> Steps | None:
    """The steps of widths that the run began with, or those that pay and meet the budget; None if they are given."""
    path = out / STEPS_FILE
    if config.constraints.divisor != "auto" or config.learns_widths:
        return None
    if path.exists():
        try:
            return Steps.from_json(path.read_bytes().decode(errors="replace"), net)
        except SecateurError as error:
            raise SecateurError(f"{path}: {error}") from error
    steps = measured_steps(net, config.constraints.runtime, progress=progress)
    while steps.coarsest > 1 and not _meets(net.in_steps(steps.steps), config):
        steps = steps.finer
    return steps


def _meets(net: Supernet, config: RunConfig) -> bool:
    """Whether the network can meet the lower end of the budget, but for its latency, which is measured later."""
    spec = replace(config.budget.spec, latency=None)
    return not spec.limits or net.profile(spec.low).satisfiable


def _timed(net: Supernet, out: Path, runtime: str, progress: Progress) -> Latency:
    """The table of times that the run began with, or a new one."""
    path = out / LATENCY_FILE
    if not path.exists():
        return measure(net, runtime, progress=progress)
    try:
        return Latency.from_json(path.read_bytes().decode(errors="replace"), net)
    except SecateurError as error:
        raise SecateurError(f"{path}: {error}") from error


def _start_shares(path: Path, net: Supernet, span: BudgetRange) -> list[FloatArray]:
    """Shares of the architectures most similar to uniform widths at the range's lower end. Shape: (G,) each"""
    return [keep_shares(record, net) for record in most_similar(architectures(path), net, span.low, STARTS)]


def _on(model: nn.Module, device: str | None) -> nn.Module:
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if torch.device(name).type == "meta":
            raise RuntimeError("it holds no numbers")
        return model.to(name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        what = str(error).splitlines()[0]
        raise SecateurError(
            f"no device {name!r} is here ({what}); pass --device cpu, or cuda where there is one"
        ) from error
