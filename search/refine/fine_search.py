"""Trials at the budget: widths around the best so far, proposed by a sampler that learns from what was evaluated."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from ..early_stopping import extrapolated_loss
from ..importance.registry import Scores
from ..records import Interim, Records
from .incumbent import Incumbent, find_incumbent
from .samplers import BudgetSampler, Fit, sampler_name
from .study import StudyOptions, attributes, distributions, opened, publish, run_trials

GOLDEN = 0.6180339887498949  # its multiples, less their whole part, fill a span evenly, however many there are
WINDOW = 0.3  # of a group: how far from the best so far a width may move
MOVED = 4  # groups that a trial moves, on average; where all of 30 move at once, hardly one trial is better


def refine(
    records: Records, scores: Scores, starts: Sequence[IntArray], span: BudgetRange, options: StudyOptions
) -> Iterator[Interim]:
    """Interim subnetworks at the budget, as this process evaluates them; over a span, each at a budget of its own.

    A search over a span is one of two objectives, MACs and loss: trial after trial draws its budget, evenly over the
    span. At a single budget it is the loss alone. A trial looks around the best subnetwork so far that meets its
    budget: the sampler's wish counts in a few groups, drawn by chance, and the others follow by what the budget
    leaves. It ends early once it is surely worse, and then counts with the loss that it could be expected to have. One
    that is better is scored on all of the holdout before it is the best.

    The widths in ``starts`` enter the study as finished trials. A stored study is taken up where it stopped: the
    sampler is seeded anew for each trial from (seed, its turn), so an interrupted search of one process goes on exactly
    as if it had not been.

    Shape: starts (G,) each
    """
    widths, aims = distributions(records.net), dict[int, Incumbent]()

    def prepare(study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, Fit]:
        turn = _trial_index(study, trial)
        budget, seed = span.at((turn * GOLDEN + 0.5) % 1), derive_seed(options.seed, turn)
        aims[trial.number] = found = find_incumbent(records, budget, options.images, partial(publish, study))
        return options.sampler(seed), partial(_fitted, records.net.space, found, _groups_to_move(len(widths), seed))

    def judge(trial: optuna.Trial) -> tuple[Interim, list[float]]:
        chosen = np.array([trial.suggest_int(name, each.low, each.high) for name, each in widths.items()])
        rival = aims[trial.number].incumbent
        interim = records.evaluate(top_channels(scores, chosen), "refine", options.images, rival)
        stopped = interim.n < rival.n
        likely = (
            replace(interim, loss=extrapolated_loss(interim.image_losses, rival.image_losses)) if stopped else interim
        )
        return interim, _values(likely, span)

    name = f"{span}, {sampler_name(options.sampler)}, seed {options.seed}, {records.fingerprint}"
    with opened(options.storage, name, _objectives(span)) as study:
        study.sampler = BudgetSampler(widths, prepare)
        entered = _enqueue_starts(study, records, scores, starts, span, options.images)
        yield from run_trials(study, records, entered + options.trials, judge)


def _groups_to_move(groups: int, seed: int) -> BoolArray:
    """Which groups a trial moves: each with equal chance, one at least. Shape: → (G,)"""
    rng = np.random.default_rng(seed)
    moved = rng.random(groups) < MOVED / groups
    moved[rng.integers(groups)] = True
    return moved


def _fitted(space: Space, aimed: Incumbent, moved: BoolArray, wish: IntArray) -> IntArray:
    """A wish for some groups within a window around the rival, as wide as the budget lets it be. Shape: (G,) → (G,)"""
    centre, reach = aimed.incumbent.subnetwork.widths, np.maximum(1, np.ceil(WINDOW * space.dense))
    low, high = np.maximum(space.min_widths, centre - reach), np.minimum(space.dense, centre + reach)
    return fit_to_budget(space, aimed.budget, np.where(moved, np.clip(wish, low, high), centre))


def _enqueue_starts(
    study: optuna.Study, records: Records, scores: Scores, starts: Sequence[IntArray], span: BudgetRange, images: int
) -> int:
    """Enter the starts as finished trials, once. Returns how many there are."""
    widths = distributions(records.net)
    known = [trial.params for trial in study.get_trials(deepcopy=False) if _is_start(trial)]
    for start in starts:
        interim = records.evaluate(top_channels(scores, start), "start", images)
        params = dict(zip(widths, start.tolist(), strict=True))
        if params not in known:
            known.append(params)
            about = {"start": True, **attributes(interim, records)}
            values = _values(interim, span)
            study.add_trial(create_trial(params=params, distributions=dict(widths), values=values, user_attrs=about))
    return len(known)


def _trial_index(study: optuna.Study, trial: FrozenTrial) -> int:
    """Which trial of the search this is, from 0: starts don't count, and one that was lost has its first turn."""
    before = study.get_trials(deepcopy=False)
    again = {other.system_attrs["failed_trial"] for other in before if "failed_trial" in other.system_attrs}
    number = trial.system_attrs.get("failed_trial", trial.number)
    return sum(
        other.number < number
        and not _is_start(other)
        and "failed_trial" not in other.system_attrs
        and (other.state is not TrialState.FAIL or other.number in again)
        for other in before
    )


def _is_start(trial: FrozenTrial) -> bool:
    return "start" in trial.user_attrs


def _objectives(span: BudgetRange) -> list[str]:
    """What is minimised."""
    return ["loss"] if span.is_single else ["macs", "loss"]


def _values(interim: Interim, span: BudgetRange) -> list[float]:
    """The objectives as Optuna takes them: NaN it refuses, which would leave the trial uncounted and asked again."""
    return [interim.sort_loss] if span.is_single else [interim.macs, interim.sort_loss]
