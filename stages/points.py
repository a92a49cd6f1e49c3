"""Any point of a finished run's front, fine-tuned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import SecateurError
from ..models.files.architecture import read_architecture
from ..models.subnetwork import Subnetwork
from ..pipeline import best_under
from ..progress import Progress, silent
from ..rundir.manifest import Outcome, config_of
from ..transfer.bank.manifest import MANIFEST, manifest_name
from ..transfer.methods import METHODS, require_method
from ..transfer.training.distributed import world
from .run import prepare_run
from .search_run import SearchRun


def tune(
    out: Path,
    budget: str | None = None,
    *,
    method: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> tuple[Outcome, Path]:
    """Fine-tune the point of the front that meets ``budget`` with the lowest loss, or the winner, from the run's bank.

    Another point than the winner has teachers of its own. What the bank lacks is added where ``method`` asks it:
    teachers, and the fixed views that a run by another method left out.
    Processes of torchrun train it together; the first writes.
    ``method``, ``epochs`` and ``seed`` are those of the run where they are not given. Returns the figures of the dense,
    the pruned and the fine-tuned network, and the folder that holds it; what is there already is not done again.
    """
    wishes: dict[str, Any] = {"method": method, "epochs": epochs, "seed": seed}
    team = world()
    with team.one_after_another():
        again, point, plan = _prepared(out, budget, device, progress, wishes)
        folder = out / "points" / f"{again.net.macs(point)}-{again.ask.method}-{again.ask.epochs}-{again.ask.seed}"
        done = (folder / "architecture.json").exists() and "figures" in read_architecture(folder / "architecture.json")
    if not done:
        again.tuned(point, folder / "transfer", folder, plan)
        if team.first:
            again.tested(point, folder)
        team.barrier()
    return dict(read_architecture(folder / "architecture.json")["figures"]), folder


def _prepared(
    out: Path, budget: str | None, device: str | None, progress: Progress, wishes: dict[str, Any]
) -> tuple[SearchRun, Subnetwork, str]:
    """The work as it is asked for now, the point, and the plan of its bank, which gets the teachers it lacks."""
    began = config_of(out)
    if method := wishes["method"]:
        require_method(method)
    wanted = replace(began, **{name: wish for name, wish in wishes.items() if wish is not None})
    if began.learns_widths:
        raise SecateurError(f"{out} was made by {began.method}, which fills no memory bank; give a run of a search")
    work, ledger = prepare_run(began, out, device, progress)
    assert isinstance(work, SearchRun)
    if "bank" not in ledger.stages:
        raise SecateurError(f"{out} has no memory bank yet; finish it: secateur run {began.command_line} --out {out}")
    work.restore("dense")
    work = replace(work, ask=wanted)
    searched, winner = work.searched, work.searched.winner.subnetwork
    point = winner if budget is None else best_under(work.net, searched.front, budget).subnetwork
    if not METHODS[work.ask.method].bank_teachers:
        return work, point, MANIFEST
    work.filled(point)
    return work, point, manifest_name(point, winner)
