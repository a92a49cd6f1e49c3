"""The whole search: coarse proposals, refined, the best of them scored on the full holdout."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..models.atoms import FloatArray
from ..models.budget import Budget, filled
from .coarse import coarse_search
from .importance import Scores, l1, taylor
from .interim import Interim, Records, front
from .obs import eliminations, fisher
from .refine import RefineOptions, refine

Progress: TypeAlias = Callable[[str, int, int], None]  # what is done, how much of it, of how much

SAMPLE = 1000  # holdout images that score a subnetwork; the finalists are scored again on all of them
FINALISTS = 5
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


def search_widths(
    records: Records, budget: Budget, *, trials: int, seed: int, folder: Path, progress: Progress
) -> Searched:
    """Find the widths with the lowest holdout loss under ``budget``; taken up from ``folder`` if it was begun.

    No weight is trained, and only the split of ``records`` is read.
    """
    net, holdout = records.net, records.split
    images = min(SAMPLE, len(holdout))
    records.evaluate(net.dense, "dense", images)
    scores, curves = _importance(records)
    proposals = []
    for proposal in coarse_search(records, scores, budget, images, curves):
        proposals.append(proposal)
        progress("coarse search", len(proposals), proposal.total)
    at_budget = [proposal for proposal in proposals if proposal.budget == budget]
    best = min(at_budget, key=lambda proposal: _rank(proposal.interim))
    starts = [proposal.interim.subnetwork.widths for proposal in at_budget]
    storage = f"sqlite:///{folder / 'study.db'}"
    options = RefineOptions(trials=trials, images=images, seed=seed, storage=storage)
    for count, _ in enumerate(refine(records, scores[best.score], starts, budget, options), 1):
        progress("fine search", count, trials)
    interims = tuple(i for i in records.all if i.n == images)  # those of an earlier run of this search, too
    full = (i for i in interims if filled(net.space, budget, i.subnetwork.widths))
    candidates = sorted(full, key=_rank)[:FINALISTS]
    finalists = [records.evaluate(each.subnetwork, each.source, len(holdout)) for each in candidates]
    return Searched(min(finalists, key=_rank), best.interim, interims)


def _importance(records: Records) -> tuple[dict[str, Scores], Curves]:
    """The scores, and the error curves where Grams tell what compensation can't mend."""
    net, holdout = records.net, records.split
    if not records.grams:
        return {"taylor": taylor(net, holdout), "l1": l1(net, holdout)}, {}
    gone = eliminations(net, records.grams, fisher(net, holdout))
    scores = {"obs": [each.scores for each in gone], "taylor": taylor(net, holdout)}
    return scores, {"obs": [each.curve for each in gone]}


def _rank(interim: Interim) -> tuple[float, object]:
    """By loss; NaN last; ties by the channels, so that every machine agrees."""
    return (interim.loss if interim.loss == interim.loss else float("inf"), interim.subnetwork.kept)
