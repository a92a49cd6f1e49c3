"""Everything that the stages of a run share, and what is wrong with it, before anything is trained or written."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..data.augment import is_code, require_augmentation
from ..data.dataset import Unread
from ..digests import digest
from ..errors import SecateurError
from ..files import RESTORE, write_text
from ..models.costs.budget_range import BudgetRange
from ..models.evaluate import device_of
from ..models.files.library import architectures, keep_shares, most_similar
from ..models.files.networks import network_called, require_network
from ..models.files.place import ARCHITECTURE, WEIGHTS, home_of, is_kept
from ..models.files.schema import fingerprint, read_architecture
from ..models.supernet import Supernet
from ..models.timing.latency import Latency, measure
from ..models.timing.steps import Steps, measured_steps
from ..models.tracing.atoms import FloatArray
from ..models.zoo.weights import load_weights, require_readable, weights_file
from ..pipeline.fit import require_fit
from ..pipeline.images import unread_run_data
from ..pipeline.session import Session
from ..progress import Progress
from ..rundir.config import RunConfig
from ..rundir.folder import remove_run, require_place, require_replaceable
from ..rundir.kept import RUN
from ..rundir.manifest import (
    WIDTH_STEPS,
    Manifest,
    differences,
    read_manifest,
    require_same,
    sha256,
    with_former_defaults,
)
from ..rundir.options import JOINT_METHODS
from ..search.config import SearchConfig, sampler_called
from ..search.refine.database import require_database
from ..transfer.methods import METHODS, require_method
from ..transfer.objectives.base import require_divergence
from .joint_run import JointRun
from .room import needed_bytes, require_room
from .search_run import SearchRun

Placed = TypeVar("Placed", nn.Module, Tensor)
Measurements = TypeVar("Measurements", Latency, Steps)

STARTS = 5  # at most, of the architectures that --start names
STEPS_FILE = "steps.json"  # in the run directory: what --divisor auto measured
TIMES = "times of layers"  # as run.json calls what is in
LATENCY_FILE = "latency.json"  # in the run directory: the table that a budget of latency is measured by


def prepare_run(
    config: RunConfig,
    out: Path,
    device: str | None,
    progress: Progress,
    *,
    began: RunConfig | None = None,
    overwrite: bool = False,
) -> tuple[SearchRun | JointRun, Manifest]:
    """The work of a run, and its manifest.

    ``began``: the configuration in the run directory, where the network or the data are named in another way now;
    both have to be the same. ``overwrite``: another run that is there is removed, once nothing is wrong with this one.
    """
    began = began or config
    other = bool(differences(out, began))
    replaced = overwrite and other
    _require_consistent(config, device)
    require_place(out)
    config = config if other else with_former_defaults(config, out)
    prepared = Prepared.of(config, device, progress)
    require_replaceable(out) if replaced else require_same(out, began)
    session, runtime = prepared.session(out), config.constraints.runtime
    before = None if replaced else out  # whose measurements are used again
    if steps := _steps(config, session.net, before, progress):
        session = replace(session, net=session.net.in_steps(steps.steps))
    net = session.net
    timed = _timed(net, before, runtime, progress) if config.budget.latency else None
    if config.learns_widths:
        work: SearchRun | JointRun = _joint_run(config, session)
    else:
        work = SearchRun(config, session, _search_config(config, net, timed), teacher_of(config, session))
    require_room(out, needed_bytes(session, work.bank_config if isinstance(work, SearchRun) else None))
    if replaced:
        remove_run(out)
    manifest = Manifest(out, began, progress)
    if timed:
        table = timed.to_json(net)
        write_text(out / LATENCY_FILE, table)
        manifest.require(TIMES, digest(table))
    if steps:
        write_text(out / STEPS_FILE, steps.to_json())
        manifest.require(WIDTH_STEPS, str(steps))
    for name, mark in _fingerprints(config, session).items():
        manifest.require(name, mark)
    return work, manifest


def _require_consistent(config: RunConfig, device: str | None) -> None:
    """Raise SecateurError for whatever is wrong with the options and can be found before an image is read."""
    joint, source, search = config.joint, config.images.data, config.search
    require_method(config.transfer.method, JOINT_METHODS)
    scratch = config.learns_widths and joint.teacher is not None  # a student under another teacher
    if config.trained is None and not scratch and source != "digits":
        raise SecateurError(f"no weights for {config.model} on {source}; pass --weights FILE of the trained network")
    if joint.teacher_weights and not joint.teacher:
        raise SecateurError("--teacher-weights has no network to go with; pass --teacher MODEL as well")
    for network in filter(None, (config.model, joint.teacher)):
        require_network(network)
    if is_kept(config.model) and not config.weights:
        _require_trained(config.model)
    if config.images.augment and not is_code(config.images.augment):
        require_augmentation(config.images.augment)
    for file in filter(None, (config.weights, joint.teacher_weights)):
        require_readable(file)
    _on(torch.zeros(1), device)
    sampler_called(search.sampler)
    if search.start:
        architectures(Path(search.start))
    if search.storage:
        require_database(search.storage)


def _require_trained(kept: str) -> None:
    """Raise SecateurError where a kept network has the fresh weights that ``reuse`` gave it."""
    if (read_architecture(home_of(kept) / ARCHITECTURE).provenance or {}).get("weights") == "fresh":
        raise SecateurError(
            f"{kept} has fresh weights; train it first: secateur transfer {kept} --data DATA --epochs 100"
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """The traced network of a configuration and its images, which are not read yet; ``progress`` is told of reading."""

    config: RunConfig
    net: Supernet
    images: Unread
    progress: Progress

    @classmethod
    def of(cls, config: RunConfig, device: str | None, progress: Progress) -> "Prepared":
        """Raises SecateurError for weights, groups and budgets that the network does not have, or cannot meet."""
        images = unread_run_data(config, progress)
        torch.manual_seed(config.seed)
        model = network_called(config.model, len(images.classes))()
        if config.weights:
            load_weights(model, config.weights)
        wanted = config.constraints
        how: dict[str, Any] = {"freeze": wanted.freeze, "tie": wanted.ties, "least": wanted.min_keep}
        net = Supernet.of(_on(model, device), images.example, divisor=wanted.fixed_divisor, **how)
        budget = replace(config.budget.spec, latency=None)  # which is measured later
        if budget.limits and not config.learns_widths:
            net.span(budget)
        return cls(config, net, images, progress)

    def session(self, out: Path) -> Session:
        """The network and its images, read now; what does not fit is found here."""
        data = self.images.read()
        require_fit(self.net, data)
        if self.config.learns_widths or METHODS[self.config.transfer.method].compares:
            require_divergence(data.task)
        return Session(self.net, data, out, self.config.precision, self.progress)


def _search_config(config: RunConfig, net: Supernet, timed: Latency | None) -> SearchConfig:
    search, span = config.search, net.span(config.budget.spec, timed=timed)
    starts = _start_shares(Path(search.start), net, span) if search.start else []
    how: dict[str, Any] = {"sampler": sampler_called(search.sampler), "seed": config.seed}
    return SearchConfig(span, search.trials, storage=search.storage, start_shares=starts, **how)


def _joint_run(config: RunConfig, session: Session) -> JointRun:
    """The work of a run that learns widths; what is wrong with its options is found here."""
    work = JointRun(config, session, teacher_of(config, session))
    work.make_learner()
    return work


def teacher_of(config: RunConfig, session: Session) -> Supernet | None:
    """The teacher that is another network, with its weights; None where the dense network teaches."""
    joint, data = config.joint, session.data
    if joint.teacher is None:
        return None
    if config.teacher_trained is None and config.images.data != "digits":
        raise SecateurError(f"no weights for the teacher {joint.teacher}; pass --teacher-weights FILE")
    model = network_called(joint.teacher, len(data.classes))()
    if joint.teacher_weights:
        load_weights(model, joint.teacher_weights)
    teacher = Supernet.of(model.to(device_of(session.net.model)).eval(), data.example, check=False)
    require_fit(teacher, data)
    return teacher


def _fingerprints(config: RunConfig, session: Session) -> dict[str, str]:
    """What may not change between two starts of a run."""
    marks = {"data": session.data.fingerprint, "images": session.data.content, "network": fingerprint(session.net)}
    kept = home_of(config.model) / WEIGHTS if is_kept(config.model) else None
    weights = weights_file(config.weights) if config.weights else kept
    marks["weights"] = sha256(weights) if weights else "none"
    if config.joint.teacher_weights:
        marks["teacher's weights"] = sha256(weights_file(config.joint.teacher_weights))
    return marks


def _steps(config: RunConfig, net: Supernet, out: Path | None, progress: Progress) -> Steps | None:
    """The steps of widths that the run began with, or those that pay and meet the budget; None if they are given."""
    if config.constraints.divisor != "auto" or config.learns_widths:
        return None
    if out and (out / STEPS_FILE).exists():
        return read_steps(out / STEPS_FILE, net)
    steps = measured_steps(net, config.constraints.runtime, progress=progress)
    while steps.coarsest > 1 and not _meets(net.in_steps(steps.steps), config):
        steps = steps.finer
    return steps


def _meets(net: Supernet, config: RunConfig) -> bool:
    """Whether the network can meet the lower end of the budget, but for its latency, which is measured later."""
    spec = replace(config.budget.spec, latency=None)
    return not spec.limits or net.profile(spec.low).satisfiable


def _timed(net: Supernet, out: Path | None, runtime: str, progress: Progress) -> Latency:
    """The table of times that the run began with, or a new one."""
    if out and (out / LATENCY_FILE).exists():
        return read_latency(out / LATENCY_FILE, net)
    if out and (out / RUN).exists() and TIMES in read_manifest(out).fingerprints:
        raise SecateurError(f"{out / LATENCY_FILE} is gone, whose times the budget is measured by; {RESTORE}")
    return measure(net, runtime, progress=progress)


def read_latency(path: Path, net: Supernet) -> Latency:
    """The table of times in a file. Raises SecateurError, naming the file, where it holds none of this network."""
    return _measured(path, lambda text: Latency.from_json(text, net))


def read_steps(path: Path, net: Supernet) -> Steps:
    """The steps of widths in a file. Raises SecateurError, naming the file, where it holds none of this network."""
    return _measured(path, lambda text: Steps.from_json(text, net))


def _measured(path: Path, read: Callable[[str], Measurements]) -> Measurements:
    """What was measured before, out of a file."""
    try:
        return read(path.read_bytes().decode(errors="replace"))
    except OSError as error:
        raise SecateurError(f"{path} cannot be read ({error.strerror}); delete it to measure again") from error
    except SecateurError as error:
        raise SecateurError(f"{path}: {error}") from error


def _start_shares(path: Path, net: Supernet, span: BudgetRange) -> list[FloatArray]:
    """Shares of the architectures most similar to uniform widths at the range's lower end. Shape: (G,) each"""
    return [keep_shares(record, net) for record in most_similar(architectures(path), net, span.low, STARTS)]


def _on(model: Placed, device: str | None) -> Placed:
    """The network or tensor on a device. Raises SecateurError where it is not here."""
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
