"""Any point of a finished run's front, fine-tuned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import SecateurError
from ..models.files.architecture import subnetwork_of
from ..models.files.place import ARCHITECTURE
from ..models.files.schema import Architecture, read_architecture
from ..models.subnetwork import Subnetwork
from ..models.zoo.names import is_python
from ..pipeline.found import best_under
from ..pipeline.typed import with_typed
from ..progress import Progress, silent
from ..rundir.config import RunConfig, ask, file_name
from ..rundir.kept import Kept
from ..rundir.manifest import config_of
from ..rundir.outcomes import EvaluationStage, parse
from ..transfer.bank.bank import MemoryBank
from ..transfer.methods import require_method
from ..transfer.training.distributed import world
from .prepare import prepare_run, teacher_of
from .search_run import SearchRun

NAMED = ("method", "epochs", "seed")  # in the name of a point's folder, always
STEERING = ("batch", "lr", "optimizer", "weight_decay", "teacher", "teacher_weights")  # there where they are changed
CODE = ("model", "data", "augment", "task")  # typed again, where it is a function of the user's
OPTIONS = (*CODE, "storage", *NAMED, *STEERING)  # of a run, what may be another for a point


def tune(
    out: Path, budget: str | None = None, *, device: str | None = None, progress: Progress = silent, **options: Any
) -> tuple[EvaluationStage, Path]:
    """Fine-tune the point of the front that meets ``budget`` with the lowest loss, or the winner, from the run's bank.

    Another point than the winner has teachers of its own. What the bank lacks for ``method`` is added: teachers, and
    the fixed views that a run by another method left out. Processes of torchrun train it together; the first writes.
    Returns the figures of the dense, the pruned and the fine-tuned network, and the folder that holds it; what is there
    already is not done again.

    Args:
        out: the run directory, or a point or the best/ in it, which is that subnetwork.
        budget: as for a run; None is the run's winner.
        device: ``"cpu"`` or ``"cuda"``; by default cuda where there is one.
        progress: called with (what, done, total).
        **options: those of ``OPTIONS``, by default the run's; ``model``, ``data``, ``augment`` and ``task``, where the
            run was made with functions of the user's, and ``storage``, where several workers shared its search.
    """
    changed = {name: value for name, value in options.items() if value is not None}
    if unknown := changed.keys() - {*OPTIONS}:
        raise SecateurError(f"a point has no option {min(unknown)!r}; pass any of {', '.join(OPTIONS)}")
    team, kept = world(), Kept.at(out)
    out = kept.run or out
    with team.one_after_another():
        meant = read_architecture(kept.folder / ARCHITECTURE) if kept.is_point and budget is None else budget
        work, point, bank = _prepared(out, meant, changed, device=device, progress=progress)
        config = work.config
        folder = out / "points" / point_name(work.session.net.macs(point), config)
        path = folder / "architecture.json"
        done = path.exists() and read_architecture(path).figures is not None
    if not done:
        work.tuned(point, bank, folder / "transfer", folder)
        if team.first:
            work.tested(point, folder)
        team.barrier()
    return parse(read_architecture(path).figures, EvaluationStage, path), folder


def point_name(macs: int, config: RunConfig) -> str:
    """The folder of a point: its MACs and how it is tuned; what is at its default is left out."""
    options, usual = config.to_dict(), ask().to_dict()
    changed = [f"{name}={options[name]}" for name in STEERING if options[name] != usual[name]]
    return file_name("-".join([str(macs), *(str(options[name]) for name in NAMED), *changed]))


def _prepared(
    out: Path, meant: Architecture | str | None, changed: dict[str, Any], *, device: str | None, progress: Progress
) -> tuple[SearchRun, Subnetwork, MemoryBank | None]:
    """The work as it is configured now, the point, and its bank with what it lacked, if the method reads one."""
    began = config_of(out)
    if method := changed.get("method"):
        require_method(method)
    wanted = began.with_options(**changed)
    if began.learns_widths:
        raise SecateurError(
            f"{out} was made by {began.transfer.method}, which fills no memory bank; pass a run of a search"
        )
    if is_python(began.search.sampler):
        fix = "fine-tune its points there: sc.finetune(net, found.best(), found.bank, data)"
        raise SecateurError(f"{out} was searched in Python, with objects that no file holds; {fix}")
    _require_typed_storage(began, out, changed.get("storage"))
    teacher = {} if wanted.joint.teacher is None else {"teacher": changed.get("teacher")}
    typed = with_typed(began, out, **{name: changed.get(name) for name in CODE}, **teacher)
    work = replace(_searched_run(_untaught(typed), out, device, progress), config=wanted)
    work = replace(work, teacher_net=teacher_of(wanted, work.session))
    if "teacher" in changed and not wanted.teacher_trained:
        raise SecateurError(f"no weights for the teacher {changed['teacher']}; pass --teacher-weights FILE")
    work.restore_teacher()
    point = _point(work, meant)
    return work, point, work.banks.of(point)


def _require_typed_storage(began: RunConfig, out: Path, typed: str | None) -> None:
    """Raise SecateurError unless the database of a run is typed: none that a file names is connected to."""
    named = began.search.storage
    if named != typed:
        fix = f"if you trust it, type it: --storage {named}" if named else f"leave out --storage {typed}"
        raise SecateurError(f"{out / 'run.json'} names {named or 'no database'}, which is not connected to; {fix}")


def _point(work: SearchRun, meant: Architecture | str | None) -> Subnetwork:
    """The subnetwork of an architecture, the point of the front under a budget, or the winner."""
    if isinstance(meant, Architecture):
        return subnetwork_of(meant, work.session.net)
    return work.winner if meant is None else best_under(work.session.net, work.searched.front, meant).subnetwork


def _untaught(config: RunConfig) -> RunConfig:
    """The same without its teacher, which may be another one now."""
    return config.with_options(teacher=None, teacher_weights=None)


def _searched_run(typed: RunConfig, out: Path, device: str | None, progress: Progress) -> SearchRun:
    """The work of a run that has its bank, the dense network restored."""
    work, manifest = prepare_run(typed, out, device, progress, began=config_of(out))
    assert isinstance(work, SearchRun)
    if manifest.stages.bank is None:
        line = config_of(out).command_line
        raise SecateurError(f"{out} has no memory bank yet; finish it: secateur run {line} --out {out}")
    work.restore_dense()
    return work
