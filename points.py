"""Any point of a finished run's front, fine-tuned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from .ledger import Outcome, asked
from .models.architecture import read
from .models.errors import SecateurError
from .pipeline import best_under, silent
from .search.widths import Progress
from .stages import Search, opened


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

    ``method``, ``epochs`` and ``seed`` are those of the run where they are not given. Returns the figures of the dense,
    the pruned and the fine-tuned network, and the folder that holds it; what is there already is not done again.
    """
    began = asked(out)
    work, ledger = opened(began, out, device, progress)
    if not isinstance(work, Search):
        raise SecateurError(f"{out} was made by {began.method}, which fills no memory bank; give a run of a search")
    if "bank" not in ledger.stages:
        raise SecateurError(f"{out} has no memory bank yet; finish it: secateur run {began.words} --out {out}")
    work.take_up("dense")
    wishes: dict[str, Any] = {"method": method, "epochs": epochs, "seed": seed}
    ask = replace(began, **{name: wish for name, wish in wishes.items() if wish is not None})
    searched = work.searched
    point = (searched.winner if budget is None else best_under(work.net, searched.front, budget)).subnetwork
    folder = out / "points" / f"{work.net.macs(point)}-{ask.method}-{ask.epochs}-{ask.seed}"
    if not (folder / "architecture.json").exists() or "figures" not in read(folder / "architecture.json"):
        again = replace(work, ask=ask)
        again.tuned(point, folder / "transfer", folder)
        again.tested(point, folder)
    return dict(read(folder / "architecture.json")["figures"]), folder
