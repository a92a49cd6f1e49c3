"""A search in Python leaves a run: run.json, front.json, the dense network's weights and the pruned winner in best/."""

from math import gcd
from typing import Any

from ..data.dataset import Data
from ..data.sources import SOURCES
from ..files import ensure_folder, write_whole
from ..models.costs.budget import Budget
from ..models.costs.budget_range import BudgetRange
from ..models.costs.units import COST_UNITS, TO
from ..models.files.architecture import architecture, save, with_architecture
from ..models.files.place import WEIGHTS
from ..models.files.schema import fingerprint
from ..models.files.tensors import write_network
from ..models.structure import LEAST_SHARE
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.tasks.classification import Classification
from ..models.zoo.names import PYTHON
from ..rundir.config import RunConfig, ask
from ..rundir.manifest import write_anew
from ..rundir.outcomes import BankStage, NetworkStage, Stages
from ..search.coarse_to_fine import Searched
from ..search.config import SearchConfig
from .outcomes import FrontFile, budget_mark, search_stage
from .session import Session


def as_asked(
    net: Supernet,
    data: Data,
    budget: str | Budget | BudgetRange,
    search: SearchConfig,
    *,
    own: bool,
    **options: Any,
) -> RunConfig:
    """A search in Python as the options that a command would have had.

    A network, data and samplers that have no name are called after Python; so is the sampler where the search used any
    objects of its user's (``own``), which no file holds and no command can repeat.
    """
    named = data.name.partition(":")[0] in SOURCES
    images: dict[str, Any] = {"data": data.name if named else f"{PYTHON}{data.name}"}
    if data.train.normalisation is not None:
        mean, std = data.train.normalisation
        images |= {"input": "x".join(map(str, data.shape)), "mean": mean, "std": std}
    own = own or bool(search.extensions or search.start_shares) or not isinstance(data.task, Classification)
    how = {"trials": search.trials, "seed": search.seed, "storage": search.storage}
    limits = {"flops": budget} if isinstance(budget, str) else _limits(search.span)
    sampler = f"{PYTHON}{search.sampler_name}" if own else search.sampler_name
    name = f"{PYTHON}{type(net.model).__name__}"
    return ask(name, sampler=sampler, **images, **how, **limits, **_wishes(net), **options)


def leave_networks(session: Session, config: RunConfig, winner: Subnetwork) -> RunConfig:
    """The dense network's weights, and the pruned winner in best/. Returns the configuration with these weights."""
    dense = ensure_folder(session.folder / "dense") / WEIGHTS
    write_whole(dense, lambda partial: write_network(session.net.model, partial))
    about = {**session.about, "provenance": config.to_dict()}
    record = architecture(session.net, winner, **about)
    save(with_architecture(session.pruned(winner), record), session.folder / "best")
    return config.with_options(weights=str(dense))


def leave_run(session: Session, config: RunConfig, span: BudgetRange, searched: Searched, bank: BankStage) -> None:
    """front.json and run.json."""
    front = FrontFile(ensure_folder(session.folder), session.net, config)
    front.write(searched.winner, searched.front, budget_mark(session.net, span))
    stages = Stages(
        dense=NetworkStage(weights=config.weights, classes=len(session.data.classes)),
        search=search_stage(searched),
        bank=bank,
    )
    marks = {"data": session.data.fingerprint, "network": fingerprint(session.net)}
    write_anew(session.folder, config, stages, marks)


def _limits(span: BudgetRange) -> dict[str, str]:
    """Limits as they would be typed, by option."""
    ends = {name: (_typed(name, span.low), _typed(name, span.high)) for name in span.low.limits}
    return {COST_UNITS[name].option: TO.join(dict.fromkeys(pair)) for name, pair in ends.items()}


def _typed(name: str, budget: Budget) -> str:
    limit = budget.limits[name]
    return f"{1e3 * limit:.6g}ms" if name == "latency" else str(round(limit))


def _wishes(net: Supernet) -> dict[str, Any]:
    """The constraints of a network as they would be typed; of steps by group the divisor that all of them share."""
    wanted = net.constraints
    least = () if wanted.least == LEAST_SHARE else tuple(f"{name}={_least(n)}" for name, n in wanted.shares.items())
    frozen = tuple(group.name for group in net.frozen if str(group.frozen) == "was frozen by you")
    tie = tuple(",".join(pair) for pair in wanted.tie)
    divisor = gcd(*net.space.steps.tolist())
    return {"divisor": divisor, "least": least, "freeze": frozen, "tie": tie}


def _least(amount: float) -> str:
    return str(amount) if isinstance(amount, int) else f"{100 * amount:.6g}%"
