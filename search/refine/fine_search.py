"""Trials at the budget: widths around the best so far, proposed by a sampler that learns from what was evaluated."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ...models.costs.budget_range import BudgetRange
from ...models.costs.widths import Space, fit_to_budget
from ...models.subnetwork import top_channels
from ...models.tracing.atoms import BoolArray, IntArray
from ...seeds import derive_seed
from ..config import SearchConfig
from ..early_stopping import extrapolated_loss
from ..greedy import Greedy
from ..importance.scores import Scores
from ..records import Interim, Records
from ..samplers.samplers import BudgetSampler, Fit, Sampler, study_name
from .database import exclusive, open_study, persistently
from .incumbent import Incumbent, find_incumbent
from .retries import beating, repeated, sign
from .study import DIGEST, attributes, distributions, publish, run_trials, trial_digest

GOLDEN = 0.6180339887498949  # the fractional parts of its multiples fill a span evenly, however many there are
WINDOW = 0.3  # of a group: how far from the best so far a width may move
MOVED = 4  # groups that a trial moves, on average; where all of 30 move at once, hardly one trial is better
START = "start"  # the attribute of trials that were evaluated before the search began


def refine(records: Records, scores: Scores, starts: Sequence[IntArray], config: SearchConfig) -> Iterator[Interim]:
    """Interim subnetworks at the budget, as this process evaluates them; over a span, each at a budget of its own.

    A search over a span has two objectives, MACs and loss: each trial draws its budget, evenly over the span. At a
    single budget it is the loss alone. A trial looks around the best subnetwork so far that meets its budget: the
    sampler chooses the widths of a few groups, drawn at random, and the others follow from what the budget leaves. It
    ends early once it is significantly worse, and then counts with an extrapolated loss. One that is better is scored
    on the whole holdout before it is the best.

    The widths in ``starts`` enter the study as finished trials. A stored study is resumed where it stopped: the
    sampler of each trial is seeded from (seed, its turn), so an interrupted search of one process continues exactly
    as if it had not been.

    Shape: starts (G,) each
    """
    sampler = config.sampler
    assert not isinstance(sampler, Greedy)
    trials = _Trials(records, scores, config, sampler)

    def work() -> Iterator[Interim]:
        with _opened(records, config) as study:
            study.sampler = BudgetSampler(distributions(records.net), trials.prepare)
            entered = trials.enter_starts(study, starts)
            yield from run_trials(study, records, entered + config.trials, trials.judge)

    return persistently(config.storage, work)


def trials_done(records: Records, config: SearchConfig) -> int:
    """How many trials of this search are complete, by whichever process; starts do not count."""

    def work() -> Iterator[int]:
        with _opened(records, config) as study:
            done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            yield sum(not _is_start(each) for each in done)

    return next(persistently(config.storage, work))


def _opened(records: Records, config: SearchConfig) -> AbstractContextManager[optuna.Study]:
    """The study of this search, whose trials have one objective at a single budget, two over a span."""
    sampler = config.sampler
    assert not isinstance(sampler, Greedy)
    name = f"{config.span}, {study_name(sampler)}, seed {config.seed}{config.extensions}, {records.fingerprint}"
    return open_study(config.storage, name, ["loss"] if config.span.is_single else ["macs", "loss"])


@dataclass(frozen=True, eq=False)
class _Trials:
    """How a trial of the search is prepared and judged; each has its incumbent in ``incumbents``, by number."""

    records: Records
    scores: Scores
    config: SearchConfig
    sampler: Sampler
    incumbents: dict[int, Incumbent] = field(default_factory=dict)

    def prepare(self, study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, Fit]:
        """The sampler of this trial, and the fit of its proposal."""
        sign(study, trial)
        with beating(study, trial):
            return self._prepared(study, trial)

    def _prepared(self, study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, Fit]:
        turn = _trial_index(study, trial)
        budget, seed = self.config.span.at((turn * GOLDEN + 0.5) % 1), derive_seed(self.config.seed, turn)
        found = find_incumbent(self.records, budget, self.config.images, partial(publish, study))
        self.incumbents[trial.number] = found
        moved = _groups_to_move(len(self.records.net.groups), seed)
        return self.sampler(seed), partial(_fitted, self.records.net.space, found, moved)

    def judge(self, trial: optuna.Trial) -> tuple[Interim, list[float]]:
        """The evaluation of this trial's widths, and its objectives."""
        widths = distributions(self.records.net)
        chosen = np.array([trial.suggest_int(name, each.low, each.high) for name, each in widths.items()])
        rival = self.incumbents[trial.number].incumbent
        interim = self.records.evaluate(top_channels(self.scores, chosen), "refine", self.config.images, rival)
        likely = interim
        if interim.n < rival.n:  # it was stopped
            likely = replace(interim, loss=extrapolated_loss(interim.image_losses, rival.image_losses))
        return interim, _objectives(likely, self.config.span)

    def enter_starts(self, study: optuna.Study, starts: Sequence[IntArray]) -> int:
        """Enter the starts as finished trials, once. Returns how many there are."""
        widths, found = distributions(self.records.net), list[tuple[dict[str, int], FrozenTrial]]()
        for start in starts:
            interim = self.records.evaluate(top_channels(self.scores, start), "start", self.config.images)
            params, values = dict(zip(widths, start.tolist(), strict=True)), _objectives(interim, self.config.span)
            about = {START: True, **attributes(interim, self.records), DIGEST: trial_digest(params, values)}
            trial = create_trial(params=params, distributions=dict(widths), values=values, user_attrs=about)
            found.append((params, trial))
        with exclusive(self.config.storage):  # or two processes that begin at once would enter them twice
            known = [trial.params for trial in study.get_trials(deepcopy=False) if _is_start(trial)]
            for params, trial in found:
                if params not in known:
                    known.append(params)
                    study.add_trial(trial)
        return len(known)


def _groups_to_move(groups: int, seed: int) -> BoolArray:
    """Which groups a trial moves: each with equal chance, one at least. Shape: → (G,)"""
    rng = np.random.default_rng(seed)
    moved = rng.random(groups) < MOVED / groups
    moved[rng.integers(groups)] = True
    return moved


def _fitted(space: Space, target: Incumbent, moved: BoolArray, preferred: IntArray) -> IntArray:
    """The preferred widths of some groups, within a window around the incumbent, as wide as the budget allows.

    Shape: moved (G,), preferred (G,) → (G,)
    """
    centre, reach = target.incumbent.subnetwork.widths, np.maximum(1, np.ceil(WINDOW * space.dense))
    low, high = np.maximum(space.min_widths, centre - reach), np.minimum(space.dense, centre + reach)
    return fit_to_budget(space, target.budget, np.where(moved, np.clip(preferred, low, high), centre))


def _trial_index(study: optuna.Study, trial: FrozenTrial) -> int:
    """The turn of a trial in the search, from 0: starts don't count, and one that was lost keeps its first turn."""
    before = study.get_trials(deepcopy=False)
    again = {repeated(other) for other in before}
    first = repeated(trial)
    number = trial.number if first is None else first
    return sum(
        other.number < number
        and not _is_start(other)
        and repeated(other) is None
        and (other.state is not TrialState.FAIL or other.number in again)
        for other in before
    )


def _is_start(trial: FrozenTrial) -> bool:
    return START in trial.user_attrs


def _objectives(interim: Interim, span: BudgetRange) -> list[float]:
    """What is minimised. Infinity for NaN, which Optuna refuses: the trial would fail, and be rerun forever."""
    return [interim.sort_loss] if span.is_single else [interim.macs, interim.sort_loss]
