"""The whole search: coarse proposals, refined, the best of them scored on the full holdout."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..models.costs.widths import Space, fills_budget, fit_to_budget
from ..models.subnetwork import Subnetwork
from ..models.tracing.atoms import IntArray
from ..progress import Evaluation, Update
from .coarse import ACROSS, Proposal, levels, propose
from .config import SearchConfig
from .evidence import gather_evidence
from .greedy import Greedy, greedy
from .importance.scores import Scores
from .pareto import pareto_front
from .records import Interim, Records
from .refine.database import delete_database, is_damaged
from .refine.fine_search import refine, trials_done
from .refine.queue import agreed, evaluate_jointly, evaluations_done

FINALISTS = 5  # of the sample, and of those that all images have scored already


@dataclass(frozen=True, eq=False)
class Searched:
    """The result of a search: the ``winner`` (scored on the whole holdout) and all ``interims`` (on the sample).

    ``coarse_best`` is the best coarse proposal at the budget, where the fine search began. ``stopped`` were found worse
    than a rival before all of the sample was seen.
    """

    winner: Interim
    coarse_best: Interim
    interims: tuple[Interim, ...]
    stopped: tuple[Interim, ...]

    @property
    def front(self) -> list[Interim]:
        """The interim subnetworks that no other beats in both MACs and holdout loss."""
        return pareto_front(self.interims)


def search_widths(records: Records, config: SearchConfig, folder: Path) -> Generator[Update, None, Searched]:
    """Find the widths with the lowest holdout loss at every budget of the span; the winner is that at its lower end.

    Resumed from ``folder`` if it was begun; any number of processes may run it at once on one ``storage``. No weight
    is trained, and only the split of ``records`` is read. Yields updates, returns the result: ``follow`` runs it.
    """
    storage = config.storage or f"sqlite:///{folder / 'study.db'}"
    if not config.storage:
        yield from _replay_if_lost(records, folder / "study.db")
    config = replace(config, storage=storage, images=min(config.images, len(records.split)))
    records.evaluate(records.net.dense, "dense", config.images)
    evidence = gather_evidence(records, config.scores, config.curves)
    space = records.net.space
    budgets = levels(space, config.span)
    proposals = propose(space, budgets, evidence, rules=config.rules, curve_rules=config.curve_rules)
    best, start = yield from _coarse(records, proposals, config)
    already = 0 if isinstance(config.sampler, Greedy) else trials_done(records, config)
    for count, found in enumerate(_fine(records, evidence.scores[best.score], proposals, config), 1 + already):
        yield _update("fine", count, config.trials, records, config, found)
    interims = tuple(each for each in records.all if each.n == config.images)  # an earlier run's, too
    winner = yield from _final(records, start, config)
    return Searched(winner, start, interims, tuple(each for each in records.all if each.n < config.images))


def _replay_if_lost(records: Records, study: Path) -> Iterator[Update]:
    """Where there are records and no sound study, the trials run again, and are answered from the records."""
    if is_damaged(study):
        delete_database(study)
    if records.all and not (study.exists() and study.stat().st_size):
        records.rewind()
        yield Update("study.db is damaged or not there: the search is replayed from its records", 0, 1)


def _coarse(
    records: Records, proposals: Sequence[Proposal], config: SearchConfig
) -> Generator[Update, None, tuple[Proposal, Interim]]:
    """Evaluate all proposals; the best at the lower end of the span, and its evaluation."""
    given = [(each.subnetwork, each.source) for each in proposals]
    found = yield from _evaluated(records, given, "coarse", config, of=f"{config.span}{config.extensions}")
    pairs = zip(proposals, found, strict=True)
    return min((pair for pair in pairs if pair[0].budget == config.span.low), key=lambda pair: pair[1].rank)


def _fine(records: Records, scores: Scores, proposals: Sequence[Proposal], config: SearchConfig) -> Iterator[Interim]:
    """The fine search by a sampler, from the best known widths; or the greedy loop, from the dense network."""
    if isinstance(config.sampler, Greedy):
        evaluations = max(1, config.trials)
        return greedy(
            records, config.sampler.importance, config.span.low, images=config.images, evaluations=evaluations
        )
    return refine(records, scores, _starts(records.net.space, proposals, config), config)


def _final(records: Records, start: Interim, config: SearchConfig) -> Generator[Update, None, Interim]:
    """The best of the finalists on the whole holdout. Trials may fit the sample alone, so the start is one of them."""
    space, whole = records.net.space, len(records.split)
    at_budget = [i for i in records.all if fills_budget(space, config.span.low, i.subnetwork.widths)]
    finalists = [start]
    for n in (config.images, whole):
        finalists += sorted((i for i in at_budget if i.n == n), key=lambda i: i.rank)[:FINALISTS]
    given = list({each.subnetwork: (each.subnetwork, each.source) for each in finalists}.values())
    of = f"{config.span}, {config.sampler_name}, {config.trials} trials, seed {config.seed}{config.extensions}"
    found = yield from _evaluated(records, given, "final", replace(config, images=whole), of=of)
    return agreed(min(found, key=lambda i: i.rank), records, _name("final", of), config.storage)


def _evaluated(
    records: Records, given: Sequence[tuple[Subnetwork, str]], stage: str, config: SearchConfig, *, of: str
) -> Generator[Update, None, list[Interim]]:
    """Score each of these subnetworks, here or in another process; ``of`` distinguishes the studies of a stage."""
    name = _name(stage, of)
    already = evaluations_done(records, name, config.storage)
    done = evaluate_jointly(records, given, name, images=config.images, storage=config.storage)
    for count, found in enumerate(done, 1 + already):  # other processes do the rest
        yield _update(stage, count, len(given), records, config, found)
    return [records.evaluate(*each, config.images) for each in given]


def _name(stage: str, of: str) -> str:
    """That of a study of given subnetworks."""
    return f"{stage}, {of}"


def _update(stage: str, count: int, total: int, records: Records, config: SearchConfig, found: Interim) -> Update:
    """How far the search is, what it evaluated last, and the best so far at the lower end of the span."""
    costs, low = records.net.space.costs, config.span.low
    seen = (each for each in records.all if each.n == config.images and low.holds(costs, each.subnetwork.widths))
    best = min((each.sort_loss for each in seen), default=None)
    score, what = found.score, f"{stage} search"
    about: dict[str, Any] = {"macs": found.macs, "parameters": found.parameters, "loss": found.loss, "n": found.n}
    evaluation = Evaluation(search=what, source=found.source, value=score.value, metric=score.name, best=best, **about)
    return Update(what, count, total, evaluation=evaluation)


def _starts(space: Space, proposals: Sequence[Proposal], config: SearchConfig) -> list[IntArray]:
    """The widths of the proposals within the span, and those of other searches, fitted to it. Shape: → (G,) each"""
    span = config.span
    within = [each.subnetwork.widths for each in proposals if span.includes(each.budget)]
    budgets = [span.low] if span.is_single else [span.at(share) for share in ACROSS]
    warm = [fit_to_budget(space, each, shares * space.dense) for shares in config.start_shares for each in budgets]
    return within + warm
