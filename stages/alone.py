"""A network that was reused and is of no run, trained on labels: fresh weights, or inherited ones on other data."""

from pathlib import Path
from typing import Any

from ..errors import SecateurError
from ..models.files.architecture import architecture_of, save, with_architecture
from ..models.files.place import ARCHITECTURE, home_of
from ..models.files.schema import json_at, read_architecture
from ..pipeline.finetune import Tuning, tuned
from ..progress import Progress, silent
from ..rundir.config import RunConfig, ask
from ..rundir.outcomes import EvaluationStage, Figures, parse
from ..transfer.methods import METHODS
from ..transfer.training.distributed import world
from .common import figures
from .points import point_name, tune
from .prepare import Prepared

LABELS = "ce"  # the one method that needs neither teachers nor a bank


def tune_kept(
    place: Path, budget: str | None = None, *, device: str | None = None, progress: Progress = silent, **options: Any
) -> tuple[EvaluationStage | Figures, Path]:
    """A point of a run fine-tuned, as ``tune`` says; or the network of a folder that is of no run, trained on labels.

    Args:
        place: a run, one of its points or its best/; or a folder of ``reuse``.
        budget: which point of a run.
        device: ``"cpu"`` or ``"cuda"``; by default cuda where there is one.
        progress: called with (what, done, total).
        **options: as of ``tune``.
    """
    home = home_of(place)
    if not (home / ARCHITECTURE).exists() or "reused" not in (read_architecture(home / ARCHITECTURE).provenance or {}):
        return tune(place, budget, device=device, progress=progress, **options)
    if budget:
        raise SecateurError(f"{place} is one network and no front; leave out --flops {budget}")
    config = _configured(place, {name: value for name, value in options.items() if value is not None})
    return _trained(home, config, device, progress)


def _configured(place: Path, options: dict[str, Any]) -> RunConfig:
    method = options.pop("method", LABELS)
    if method != LABELS:
        raise SecateurError(
            f"{place} is not part of a run, and --method {method} needs its teachers; pass --method {LABELS}"
        )
    if "data" not in options:
        raise SecateurError(f"{place} is not part of a run; pass --data to train it on")
    if "model" in options:
        raise SecateurError(f"{place} is a network itself; leave out --model {options['model']}")
    return ask(str(place), method=LABELS, **options)


def _trained(home: Path, config: RunConfig, device: str | None, progress: Progress) -> tuple[Figures, Path]:
    """Train it, once for each number of epochs and seed; what is there already is not done again."""
    wanted, macs = config.transfer, read_architecture(home / ARCHITECTURE).costs.kept.macs
    folder = home / "points" / point_name(macs, config)
    path, team = folder / ARCHITECTURE, world()
    if not path.exists():
        session = Prepared.of(config, device, progress).session(home)
        how: dict[str, Any] = {"identity": {"method": LABELS}, **wanted.recipe_options}
        recipe = session.recipe(epochs=wanted.epochs, seed=config.seed, **how)
        tuning = Tuning(session.net.dense, session.net.model, None, recipe, folder / "transfer")
        student = tuned(session, tuning, METHODS[LABELS].objective)
        if team.first:
            found, _ = figures(session, student, session.net, session.net.dense)
            save(with_architecture(student, _record(home, architecture_of(student), config, found)), folder)
        team.barrier()
    return parse((read_architecture(path).figures or {})["tuned"], Figures, path), folder


def _record(home: Path, trained: dict[str, Any], config: RunConfig, found: Figures) -> dict[str, Any]:
    """The architecture as it was, of the same dense network, with what is new."""
    before = json_at(home / ARCHITECTURE)
    new = {name: trained[name] for name in ("training", "classes", "normalisation") if name in trained}
    provenance = {**before["provenance"], "data": config.images.data, "weights": "trained"}
    return {**before, **new, "provenance": provenance, "figures": {"tuned": found.to_dict()}}
