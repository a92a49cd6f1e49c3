"""A run: every stage once, in order, entered in the run directory as it is done."""

from pathlib import Path
from typing import Any

from ..errors import SecateurError
from ..progress import Observer, Progress, silent
from ..reports.page import write
from ..rundir.config import RunConfig
from ..rundir.outcomes import Stages
from ..rundir.results import Results
from ..signatures import checked
from ..transfer.training.distributed import started_by_torchrun
from .header import announce
from .prepare import prepare_run
from .search_run import SearchRun
from .stage import do_stages, require_stage

LAST = "speed"  # of the stages


@checked
def run(
    config: RunConfig,
    out: Path | str,
    *,
    until: str = LAST,
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Dense network, search, memory bank, fine-tuning, test, speed: the stages that a run directory still lacks.

    Whatever is wrong with the configuration is found before anything is trained or written.

    Args:
        config: what decides the result; ``sc.Ask(...)`` makes one from flat options.
        out: the run directory; a run that was interrupted resumes.
        until: the last stage to do, by its name in run.json.
        device: ``"cpu"`` or ``"cuda"``; by default cuda where there is one.
        overwrite: remove another run that is there, once nothing is wrong with this one.
        progress: called with (what, done, total).

    Returns:
        The outcome of each stage by its name, plain values, with its seconds.

    >>> import secateur as sc
    >>> from safetensors.torch import save_model
    >>> save_model(sc.constructor("resnet20", 10)(), "weights.safetensors")
    >>> config = sc.Ask(weights="weights.safetensors", input="3x8x8", trials=1, epochs=1, views=0)
    >>> outcome = sc.run(config, "run")
    >>> list(outcome)
    ['dense', 'search', 'bank', 'transfer', 'test', 'speed']
    """
    stages = complete(config, Path(out), until=until, device=device, overwrite=overwrite, progress=progress)
    return {name: outcome.to_dict() for name, outcome in stages.done().items()}


def complete(
    config: RunConfig,
    out: Path,
    *,
    until: str = LAST,
    device: str | None = None,
    overwrite: bool = False,
    anyway: bool = True,
    prefill: bool = False,
    progress: Progress = silent,
) -> Stages:
    """The same, and the outcomes as records; unless ``anyway``, a dense network at chance ends it before the search.

    ``prefill``: fill the bank with what training would add to it.
    """
    if started_by_torchrun():
        raise SecateurError("torchrun is for fine-tuning; run without it, then torchrun -m secateur transfer")
    work, manifest = prepare_run(config, out, device, progress, overwrite=overwrite)
    require_stage(work.stages, until, config.transfer.method)
    if manifest.stages.search is None and manifest.stages.learn is None:
        announce(work, Observer.of(progress), anyway=anyway)
    do_stages(work.stages, manifest, until)
    if prefill and isinstance(work, SearchRun):
        work.banks.prefill()
    write([Results.of(out)], out)
    return manifest.stages
