"""Search the widths of a network under a budget."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..data.dataset import Data
from ..errors import SecateurError
from ..models.costs.budget import Budget
from ..models.costs.budget_range import BudgetRange
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..progress import Evaluation as SubnetworkEvaluation
from ..progress import Observer, Progress, ignore, silent
from ..rundir.manifest import require_of_python
from ..rundir.options import SearchOptions, TransferOptions
from ..search.allocation import ALLOCATION_RULES, AllocationRule
from ..search.config import SearchConfig, sampler_called
from ..search.evaluation import Evaluation, task_loss
from ..search.importance.scores import Importance
from ..search.refine.database import require_database
from ..search.samplers.samplers import Sampler
from ..signatures import checked
from ..transfer.methods import METHODS, require_method
from .banks import Banks
from .fit import require_fit
from .found import Found
from .leave import as_asked, leave_networks, leave_run
from .session import Session


@checked
def find(
    net: Supernet,
    data: Data,
    budget: str | Budget | BudgetRange,
    *,
    trials: int = SearchOptions.trials,
    sampler: str | Sampler = SearchOptions.sampler,
    scores: Mapping[str, Importance] | None = None,
    rules: Mapping[str, AllocationRule] = ALLOCATION_RULES,
    evaluation: Evaluation = task_loss,
    start: Sequence[Subnetwork] = (),
    seed: int = 0,
    out: Path | str | None = None,
    storage: Path | str | None = None,
    method: str = TransferOptions.method,
    views: int = TransferOptions.views,
    precision: str = "auto",
    progress: Progress = silent,
    on_evaluation: Callable[[SubnetworkEvaluation], None] = ignore,
) -> Found:
    """Search the widths under a budget, and open the memory bank, which training fills.

    Test data is not read, and the network is not changed. A range of budgets is searched at once: the front answers for
    all of it, and the winner is that of its lower end.

    Args:
        net: the traced dense network.
        data: its samples, and the task that judges outputs.
        budget: ``"50%"`` or ``"62M"`` of the MACs, a range ``"25%..80%"``, or the result of ``net.budget``.
        trials: subnetworks that the fine search evaluates.
        sampler: a name from ``SAMPLERS``, or a function from a seed to an Optuna sampler.
        scores: importance scores by name, functions (net, split) → one array a channel group, which rank the channels;
            by default second-order scores and L1. ``sc.SCORES`` has the usual ones.
        rules: allocation rules by name, functions (space, budget, scores) → widths, for the coarse search.
        evaluation: what the search minimises: (network, holdout, images) → a number, or the losses of each batch; by
            default the loss of the data's task.
        start: subnetworks found before, at any budget, whose widths warm-start the fine search.
        seed: the same seed gives the same result on the same machine.
        out: the run directory, resumed where it was left; by default a temporary one, removed when Python ends.
        storage: the URL of a database that several processes share; study.db in the folder by default. A path, as
            before there was ``out``, is the folder.
        method: the fine-tuning method that the bank is for. With ckt and ckt-kl it has several teachers and is filled
            here; with others it has the dense network, and training fills it.
        views: number of fixed augmentations per image whose teacher outputs the bank stores.
        precision: that of evaluations and teachers: ``"float32"``, ``"bfloat16"`` or ``"auto"``.
        progress: called with (what, done, total).
        on_evaluation: called after every evaluation, with costs, loss and the best loss so far.

    Returns:
        The winner, the front and the bank, None where the task can't compare outputs or the method reads none. Raises
        SecateurError where the budget cannot be met.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> model = sc.constructor("resnet20", len(data.classes))()
    >>> net = sc.Supernet.of(model.eval(), data.example)
    >>> found = sc.find(net, data, "40%", trials=1, views=0)
    >>> net.macs(found.best()) <= 0.4 * net.macs(net.dense)
    True
    """
    require_fit(net, data)
    require_method(method)
    folder, database = _places(out, storage)
    require_of_python(folder)
    if database:
        require_database(database)
    span = _range(net, budget)
    net.space.require(span.low)
    config = SearchConfig(
        span,
        trials,
        sampler=sampler_called(sampler) if isinstance(sampler, str) else sampler,
        seed=seed,
        storage=database,
        start_shares=[each.widths / net.space.dense for each in start],
        scores=scores,
        rules=rules,
    )
    session = Session(net, data, folder, precision, Observer(progress, on_evaluation=on_evaluation))
    searched = session.search(config, evaluation)
    banks = Banks(session, searched, METHODS[method], views)
    bank = banks.winners
    own = not isinstance(sampler, str) or evaluation is not task_loss
    asked = as_asked(net, data, budget, config, own=own, method=method, views=views, precision=precision)
    if out is not None or storage is not None:
        asked = leave_networks(session, asked, searched.winner.subnetwork)
    leave_run(session, asked, config.span, searched, banks.stage())
    return Found(net, searched.winner, searched.coarse_best, tuple(searched.front), bank, folder)


def _places(out: Path | str | None, storage: Path | str | None) -> tuple[Path, str | None]:
    """The folder, and the URL of the database, if there is one."""
    if isinstance(storage, str) and "://" in storage:
        return Path(out or _temporary()), storage
    if out is not None and storage is not None:
        raise SecateurError(f"storage={str(storage)!r} is no database URL; pass sqlite:///FILE or postgresql://...")
    return Path(out or storage or _temporary()), None


def _temporary() -> str:
    """A new folder, which is removed when Python ends."""
    folder = tempfile.mkdtemp(prefix="secateur-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _range(net: Supernet, budget: str | Budget | BudgetRange) -> BudgetRange:
    if isinstance(budget, str):
        return net.span(budget)
    return budget if isinstance(budget, BudgetRange) else BudgetRange(budget, budget)
