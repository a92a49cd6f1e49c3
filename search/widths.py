"""The whole search: coarse proposals, refined, the best of them scored on the full holdout."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..models.atoms import FloatArray, IntArray
from ..models.budget import Space, filled, fit
from ..models.errors import SecateurError
from ..models.span import Span
from .coarse import ACROSS, Proposal, coarse_search
from .greedy import GreedyOptions, greedy
from .importance import Scores, l1, taylor
from .interim import Interim, Records, front
from .obs import eliminations, fisher
from .refine import SAMPLERS, RefineOptions, refine

Progress: TypeAlias = Callable[[str, int, int], None]  # what is done, how much of it, of how much

SAMPLE = 1000  # holdout images that score a subnetwork; the start and the finalists are scored again on all of them
FINALISTS = 5
GREEDY = "greedy"  # the fine search that is no sampler
Curves: TypeAlias = dict[str, list[FloatArray]]  # by name, the error at each width of each group


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search came to: the ``winner`` (scored on the whole holdout) and all ``interims`` (on the sample).

    ``start`` is the best coarse proposal at the budget, what the fine search began with.
    """

    winner: Interim
    start: Interim
    interims: tuple[Interim, ...]

    @property
    def front(self) -> list[Interim]:
        """The interim subnetworks that no other beats in both MACs and holdout loss."""
        return front(self.interims)


@dataclass(frozen=True, eq=False)
class Plan:
    """What to search: all budgets of ``span``, with so many ``trials`` of a sampler after the coarse search.

    ``known``: shares of the groups, (G,) each, that other searches found good; fitted to the span they are
    starts beside the coarse ones.
    """

    span: Span
    trials: int = 100
    sampler: str = "tpe"
    known: Sequence[FloatArray] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 0:
            raise SecateurError(f"trials={self.trials}; give 0 or more")
        if self.sampler not in (*SAMPLERS, GREEDY):
            raise SecateurError(f"no sampler is called {self.sampler!r}; give {', '.join(SAMPLERS)} or {GREEDY}")


def search_widths(records: Records, plan: Plan, folder: Path, progress: Progress) -> Searched:
    """Find the widths with the lowest holdout loss at every budget of the span; the winner is that at its lower end.

    Taken up from ``folder`` if it was begun. No weight is trained, and only the split of ``records`` is read.
    """
    net, holdout = records.net, records.split
    images = min(SAMPLE, len(holdout))
    records.evaluate(net.dense, "dense", images)
    scores, curves = _importance(records)
    proposals = []
    for proposal in coarse_search(records, scores, plan.span, images, curves):
        proposals.append(proposal)
        progress("coarse search", len(proposals), proposal.total)
    best = min((each for each in proposals if each.budget == plan.span.low), key=lambda each: _rank(each.interim))
    for count, _ in enumerate(_fine(records, plan, scores[best.score], proposals, folder), 1):
        progress("fine search", count, plan.trials)
    interims = tuple(i for i in records.all if i.n == images)  # those of an earlier run of this search, too
    full = (i for i in interims if filled(net.space, plan.span.low, i.subnetwork.widths))
    candidates = [best.interim, *sorted(full, key=_rank)[:FINALISTS]]  # trials may fit the sample better, and it alone
    finalists = [records.evaluate(each.subnetwork, each.source, len(holdout)) for each in candidates]
    return Searched(min(finalists, key=_rank), best.interim, interims)


def _fine(
    records: Records, plan: Plan, scores: Scores, proposals: Sequence[Proposal], folder: Path
) -> Iterator[Interim]:
    """The fine search by a sampler, from the best known widths; or the greedy loop, from the dense network."""
    images = min(SAMPLE, len(records.split))
    if plan.sampler == GREEDY:
        return greedy(records, taylor, plan.span.low, GreedyOptions(images, max(1, plan.trials)))
    starts = _starts(records.net.space, plan, proposals)
    storage, sampler = f"sqlite:///{folder / 'study.db'}", SAMPLERS[plan.sampler]
    return refine(records, scores, starts, plan.span, RefineOptions(plan.trials, images, plan.seed, storage, sampler))


def _starts(space: Space, plan: Plan, proposals: Sequence[Proposal]) -> list[IntArray]:
    """The widths of the proposals within the span, and the known ones, fitted to it. Shape: → (G,) each"""
    span = plan.span
    within = [each.interim.subnetwork.widths for each in proposals if span.includes(each.budget)]
    levels = [span.low] if span.single else [span.at(share) for share in ACROSS]
    return within + [fit(space, level, shares * space.dense) for shares in plan.known for level in levels]


def _importance(records: Records) -> tuple[dict[str, Scores], Curves]:
    """The scores, and the error curves where Grams tell what compensation can't mend.

    There the order of L1 starts better than Taylor's and reads no image; benchmarks/coarse.py compares them.
    """
    net, holdout = records.net, records.split
    if not records.grams:
        return {"taylor": taylor(net, holdout), "l1": l1(net, holdout)}, {}
    gone = eliminations(net, records.grams, fisher(net, holdout))
    return {"obs": [each.scores for each in gone], "l1": l1(net, holdout)}, {"obs": [each.curve for each in gone]}


def _rank(interim: Interim) -> tuple[float, object]:
    """By loss; NaN last; ties by the channels, so that every machine agrees."""
    return (interim.loss if interim.loss == interim.loss else float("inf"), interim.subnetwork.kept)
