"""The folder of a run: a default one for each, and room made in one that is asked for."""

import os
import shutil
from itertools import count
from pathlib import Path

from ..errors import SecateurError
from ..files import writing
from .command_options import PlaceOptions
from .config import RunConfig
from .manifest import LEFTOVERS, differences, require_run_or_empty, transfer_line

RUNS = Path("runs")
LEFT = {  # by a run, of any kind
    *("run.json", "study.db", "latency.json", "steps.json", "front.json", "front.csv", "evaluation.json"),
    *("report.html", "pareto.png", "pareto.svg", "metrics.csv"),
    *("bank", "transfer", "dense", "teacher", "learn", "best", "points", "tensorboard"),
    *LEFTOVERS,
}


def folder_for(config: RunConfig, asked: PlaceOptions) -> Path:
    """The folder that is asked for, or else ``default_folder``; to be written over, the first of the default ones."""
    return asked.out or (RUNS / config.name if asked.overwrite else default_folder(config))


def default_folder(config: RunConfig) -> Path:
    """runs/NAME, or the first of NAME-2, NAME-3, ... that is free or holds this very run.

    One that differs in its fine-tuning alone is no reason for another search: that folder is answered, and refused.
    """
    names = (config.name if number == 1 else f"{config.name}-{number}" for number in count(1))
    return next(folder for folder in (RUNS / name for name in names) if _is_for(config, folder))


def require_place(folder: Path) -> None:
    """Raise SecateurError where the folder holds something else, or cannot be made."""
    require_run_or_empty(folder)
    above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not above.is_dir():
        raise SecateurError(f"the folder {folder} cannot be made ({above} is a file); pass a different one")
    if not os.access(above, os.W_OK):
        raise SecateurError(f"the folder {folder} cannot be made ({above} is read-only); pass a different one")


def require_replaceable(folder: Path) -> None:
    """Raise SecateurError where a run's folder holds what no run left, and which nobody wants removed."""
    own = [file.name for file in folder.iterdir() if not _is_left(file.name)] if folder.is_dir() else []
    if own:
        raise SecateurError(f"{folder} holds {min(own)}, which no run left; move it, or pass a different --out")


def remove_run(folder: Path) -> None:
    """Remove all that a run left in its folder."""
    require_replaceable(folder)
    with writing(folder):
        for file in folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()


def _is_left(name: str) -> bool:
    return name in LEFT or name.startswith("study.db") or name.endswith((".lock", ".partial"))


def _is_for(config: RunConfig, folder: Path) -> bool:
    if not folder.exists() or not (folder / "run.json").exists():
        return not folder.exists() or not any(folder.iterdir())
    return not differences(folder, config) or transfer_line(folder, config) is not None
