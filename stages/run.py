"""A run: every stage once, in order, entered in the run directory as it is done."""

from pathlib import Path

import torch
from torch import nn

from ..data.dataset import Data
from ..errors import SecateurError
from ..models.costs.budget_range import BudgetRange
from ..models.evaluate import device_of
from ..models.files.architecture import fingerprint
from ..models.files.library import architectures, keep_shares, most_similar
from ..models.supernet import Supernet
from ..models.timing.latency import Latency, measure
from ..models.tracing.atoms import FloatArray
from ..models.tracing.trace import evaluating
from ..models.zoo.registry import constructor
from ..models.zoo.weights import load_weights, require_file
from ..pipeline import open_run_data
from ..progress import Progress, silent
from ..reports.page import write
from ..rundir.config import JOINT_METHODS, RunConfig
from ..rundir.manifest import Manifest, Outcome, require_same, sha256
from ..rundir.results import Results
from ..search.config import SearchConfig, sampler_called
from ..search.refine.database import require_database
from ..transfer.methods import require_method
from ..transfer.training.distributed import started_by_torchrun
from .joint_run import JointRun
from .search_run import SearchRun

STARTS = 5  # at most, of the architectures that --start names
LATENCY_FILE = "latency.json"  # in the run directory: the table that a budget of latency is measured by


def run(
    ask: RunConfig, out: Path, *, until: str = "test", device: str | None = None, progress: Progress = silent
) -> dict[str, Outcome]:
    """Dense network, search, memory bank, fine-tuning, test: those that the run directory ``out`` still lacks.

    ``until``: the last stage to do, by its name in run.json. Whatever is wrong with the ask is found before anything
    is trained or written. Returns what each stage came to, with its seconds.
    """
    if started_by_torchrun():
        raise SecateurError("torchrun is for fine-tuning; run without it, then torchrun -m secateur transfer")
    work, ledger = prepare_run(ask, out, device, progress)
    if until not in {stage.__name__ for stage in work.stages}:
        raise SecateurError(f"--method {ask.method} has no stage {until!r}; use secateur run")
    for stage in work.stages:
        ledger.stage(stage.__name__, stage, shared=stage.__name__ == "search")
        work.restore(stage.__name__)
        if stage.__name__ == until:
            break
    write([Results.of(out)], out)
    return ledger.stages


def prepare_run(
    ask: RunConfig, out: Path, device: str | None, progress: Progress
) -> tuple[SearchRun | JointRun, Manifest]:
    """Everything that the stages of a run share, and the book of those that are done."""
    require_method(ask.method, JOINT_METHODS)
    if ask.weights is None and ask.teacher is None and ask.data != "digits":
        raise SecateurError(f"no weights for {ask.model} on {ask.data}; give --weights FILE of the trained network")
    if ask.teacher_weights and not ask.teacher:
        raise SecateurError("--teacher-weights are of no network; give --teacher MODEL, too")
    require_same(out, ask)
    for file in filter(None, (ask.weights, ask.teacher_weights)):
        require_file(file)
    if ask.storage:
        require_database(ask.storage)
    data = open_run_data(ask, progress)
    torch.manual_seed(ask.seed)
    model = constructor(ask.model, len(data.classes))()
    if ask.weights:
        load_weights(model, ask.weights)
    model = _on(model, device)
    net = Supernet.of(model, data.example, divisor=ask.divisor, freeze=ask.freeze, tie=ask.ties, least=ask.min_keep)
    _check_classes(net, data)
    data = data.in_memory_format_of(model)
    timed = _timed(net, out, progress) if ask.latency else None
    if ask.learns_widths:
        work: SearchRun | JointRun = _learning(ask, out, data, net, progress)
    else:
        span = net.span(**ask.limits, timed=timed)
        known = _known(Path(ask.start), net, span) if ask.start else []
        plan = SearchConfig(
            span,
            ask.trials,
            sampler=sampler_called(ask.sampler),
            seed=ask.seed,
            storage=ask.storage,
            start_shares=known,
        )
        work = SearchRun(ask, out, data, net, progress, plan)
    ledger = Manifest(out, ask)
    if timed:
        (out / LATENCY_FILE).write_text(timed.to_json(net))
    marks = {"data": data.fingerprint, "network": fingerprint(net)}
    marks["weights"] = sha256(ask.weights) if ask.weights else "none"
    if ask.teacher_weights:
        marks["teacher's weights"] = sha256(ask.teacher_weights)
    for name, mark in marks.items():
        ledger.require(name, mark)
    return work, ledger


def _learning(ask: RunConfig, out: Path, data: Data, net: Supernet, progress: Progress) -> JointRun:
    """The work of a run that learns widths; what is wrong with its options is found here."""
    teacher = None
    if ask.teacher:
        if ask.teacher_weights is None and ask.data != "digits":
            raise SecateurError(f"no weights for the teacher {ask.teacher}; give --teacher-weights FILE")
        model = constructor(ask.teacher, len(data.classes))()
        if ask.teacher_weights:
            load_weights(model, ask.teacher_weights)
        teacher = Supernet.of(model.to(device_of(net.model)).eval(), data.example, check=False)
        _check_classes(teacher, data)
    work = JointRun(ask, out, data, net, progress, teacher)
    work.make()
    return work


def _timed(net: Supernet, out: Path, progress: Progress) -> Latency:
    """The table of times that the run began with, or a new one."""
    if (out / LATENCY_FILE).exists():
        return Latency.from_json((out / LATENCY_FILE).read_text(), net)
    return measure(net, progress=progress)


def _known(path: Path, net: Supernet, span: BudgetRange) -> list[FloatArray]:
    """The shares of those architectures that are likest to uniform widths at the span's lower end. Shape: (G,) each"""
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
            f"no device {name!r} is here ({what}); give --device cpu, or cuda where there is one"
        ) from error


def _check_classes(net: Supernet, data: Data) -> None:
    with torch.no_grad(), evaluating(net.model):
        answer = net.model(*net.examples)
    if not isinstance(answer, torch.Tensor):
        raise SecateurError(f"the network gives a {type(answer).__name__}; give one that gives its logits alone")
    outputs = answer.shape[-1]
    if outputs != len(data.classes):
        raise SecateurError(
            f"the network has {outputs} outputs and {data.name} has {len(data.classes)} classes; give matching ones"
        )
