"""A stage of a run, and doing those that the run directory lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import SecateurError
from ..rundir.manifest import Manifest
from ..rundir.outcomes import StageOutcome


def _nothing() -> None:
    """What a stage leaves is read where it is needed."""


@dataclass(frozen=True)
class Stage:
    """One stage: ``do`` it once, then ``restore`` what later stages need of it; several processes may share it."""

    name: str
    do: Callable[[], StageOutcome]
    restore: Callable[[], None] = _nothing
    shared: bool = False


def do_stages(stages: Sequence[Stage], manifest: Manifest, until: str) -> None:
    """Do those that the run directory lacks, up to the one named ``until``, and enter each as it is done."""
    for stage in stages[: [stage.name for stage in stages].index(until) + 1]:
        manifest.stage(stage.name, stage.do, shared=stage.shared)
        stage.restore()


def require_stage(stages: Sequence[Stage], name: str, method: str) -> None:
    """Raise SecateurError where a run by this method has no such stage."""
    if name not in {stage.name for stage in stages}:
        raise SecateurError(f"--method {method} has no stage {name!r}; use secateur run")
