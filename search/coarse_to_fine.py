"""The whole search: coarse proposals, refined, the best of them scored on the full holdout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from ..errors import SecateurError
from ..models.costs.budget_range import BudgetRange
from ..models.costs.widths import Space, fills_budget, fit_to_budget
from ..models.subnetwork import Subnetwork
from ..models.tracing.atoms import FloatArray, IntArray
from ..progress import Progress
from .coarse import ACROSS, Proposal, levels, pool
from .greedy import GreedyOptions, greedy
from .importance.registry import Scores, l1, taylor
from .importance.second_order import eliminations, fisher
from .records import Interim, Records, pareto_front
from .refine import ONE_OBJECTIVE, SAMPLERS, Sampler, StudyOptions, evaluate_jointly, refine, sampler_name

SAMPLE = 1000  # holdout images that score a subnetwork; the start and the finalists are scored again on all of them
FINALISTS = 5  # of the sample, and of those that all images have scored already
GREEDY = "greedy"  # the fine search that is no sampler
Curves: TypeAlias = dict[str, list[FloatArray]]  # by name, the error at each width of each group


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search came to: the ``winner`` (scored on the whole holdout) and all ``interims`` (on the sample).

    ``start`` is the best coarse proposal at the budget, what the fine search began with. ``stopped`` were found
    worse than a rival before all of the sample was seen.
    """

    winner: Interim
    start: Interim
    interims: tuple[Interim, ...]
    stopped: tuple[Interim, ...]

    @property
    def front(self) -> list[Interim]:
        """The interim subnetworks that no other beats in both MACs and holdout loss."""
        return pareto_front(self.interims)


@dataclass(frozen=True, eq=False)
class SearchPlan:
    """What to search: all budgets of ``span``, with so many ``trials`` of a sampler after the coarse search.

    ``sampler``: a word of ``SAMPLERS``, ``greedy``, or what makes a sampler of Optuna out of a seed. ``known``: shares
    of the groups, (G,) each, that other searches found good; fitted to the span they are starts beside the coarse
    ones. ``storage``: a database that several processes share, else a file of the folder.
    """

    span: BudgetRange
    trials: int = 100
    sampler: str | Sampler = "tpe"
    start_shares: Sequence[FloatArray] = ()
    seed: int = 0
    storage: str | None = None

    def __post_init__(self) -> None:
        if self.trials < 0:
            raise SecateurError(f"trials={self.trials}; give 0 or more")
        if isinstance(self.sampler, str) and self.sampler not in (*SAMPLERS, GREEDY):
            raise SecateurError(f"no sampler is called {self.sampler!r}; give {', '.join(SAMPLERS)} or {GREEDY}")
        if self.sampler == "cmaes" and not self.span.is_single:
            raise SecateurError(ONE_OBJECTIVE)

    @property
    def sampler_name(self) -> str:
        """What the sampler is called."""
        return self.sampler if isinstance(self.sampler, str) else sampler_name(self.sampler)


def search_widths(records: Records, plan: SearchPlan, folder: Path, progress: Progress) -> Searched:
    """Find the widths with the lowest holdout loss at every budget of the span; the winner is that at its lower end.

    Taken up from ``folder`` if it was begun; any number of processes may run it at once on one ``storage``. No weight
    is trained, and only the split of ``records`` is read.
    """
    net, holdout = records.net, records.split
    images = min(SAMPLE, len(holdout))
    storage = plan.storage or f"sqlite:///{folder / 'study.db'}"
    options = StudyOptions(plan.trials, images, plan.seed, storage)
    records.evaluate(net.dense, "dense", images)
    scores, curves = _importance(records)
    candidates = pool(net.space, scores, levels(net.space, plan.span), curves)
    given = [(each.subnetwork, each.source) for each in candidates]
    proposed = _evaluated(records, given, "coarse", str(plan.span), options, progress)
    pairs = [(c, i) for c, i in zip(candidates, proposed, strict=True) if c.budget == plan.span.low]
    best, start = min(pairs, key=lambda pair: _rank(pair[1]))
    for count, _ in enumerate(_fine(records, plan, scores[best.score], candidates, options), 1):
        progress("fine search", count, plan.trials)
    interims = tuple(i for i in records.all if i.n == images)  # those of an earlier run of this search, too
    full = [i for i in records.all if fills_budget(net.space, plan.span.low, i.subnetwork.widths)]
    last = [start]  # trials may fit the sample better, and it alone
    for n in (images, len(holdout)):
        last += sorted((i for i in full if i.n == n), key=_rank)[:FINALISTS]
    again = list({each.subnetwork: (each.subnetwork, each.source) for each in last}.values())
    of = f"{plan.span}, {plan.sampler_name}, {plan.trials} trials, seed {plan.seed}"
    finalists = _evaluated(records, again, "final", of, replace(options, images=len(holdout)), progress)
    stopped = tuple(i for i in records.all if i.n < images)
    return Searched(min(finalists, key=_rank), start, interims, stopped)


def _evaluated(
    records: Records,
    given: Sequence[tuple[Subnetwork, str]],
    stage: str,
    of: str,
    options: StudyOptions,
    progress: Progress,
) -> list[Interim]:
    """Each of these subnetworks, scored by this process or another."""
    for count, _ in enumerate(
        evaluate_jointly(records, given, f"{stage}, {of}", options), 1
    ):  # other processes do the rest
        progress(f"{stage} search", count, len(given))
    return [records.evaluate(*each, options.images) for each in given]


def _fine(
    records: Records, plan: SearchPlan, scores: Scores, candidates: Sequence[Proposal], options: StudyOptions
) -> Iterator[Interim]:
    """The fine search by a sampler, from the best known widths; or the greedy loop, from the dense network."""
    if plan.sampler == GREEDY:
        return greedy(records, taylor, plan.span.low, GreedyOptions(options.images, max(1, plan.trials)))
    sampler = SAMPLERS[plan.sampler] if isinstance(plan.sampler, str) else plan.sampler
    options = replace(options, sampler=sampler)
    return refine(records, scores, _starts(records.net.space, plan, candidates), plan.span, options)


def _starts(space: Space, plan: SearchPlan, candidates: Sequence[Proposal]) -> list[IntArray]:
    """The widths of the candidates within the span, and the known ones, fitted to it. Shape: → (G,) each"""
    span = plan.span
    within = [each.subnetwork.widths for each in candidates if span.includes(each.budget)]
    budgets = [span.low] if span.is_single else [span.at(share) for share in ACROSS]
    return within + [
        fit_to_budget(space, budget, shares * space.dense) for shares in plan.start_shares for budget in budgets
    ]


def _importance(records: Records) -> tuple[dict[str, Scores], Curves]:
    """The scores, and the error curves where Grams tell what compensation can't mend.

    There the order of L1 mostly starts better than Taylor's and reads no image; benchmarks/coarse.py compares them.
    """
    net, holdout = records.net, records.split
    if not records.grams:
        return {"taylor": taylor(net, holdout), "l1": l1(net, holdout)}, {}
    gone = eliminations(net, records.grams, fisher(net, holdout))
    return {"obs": [each.scores for each in gone], "l1": l1(net, holdout)}, {"obs": [each.curve for each in gone]}


def _rank(interim: Interim) -> tuple[float, object]:
    """By loss; NaN last; ties by the channels, so that every machine agrees."""
    return (interim.sort_loss, interim.subnetwork.kept)
