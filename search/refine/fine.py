"""Trials at the budget: widths around the best so far, proposed by a sampler that learns from what was evaluated."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ...models.atoms import BoolArray, IntArray
from ...models.budget import Space, fit
from ...models.seeds import mixed
from ...models.span import Span
from ...models.subnetwork import strongest
from ..importance import Scores
from ..interim import Interim, Records
from ..stopping import expected
from .aim import Aim, aim
from .samplers import Fit, Projected, called
from .study import Options, attributes, distributions, opened, publish, rounds

GOLDEN = 0.6180339887498949  # its multiples, less their whole part, fill a span evenly, however many there are
WINDOW = 0.3  # of a group: how far from the best so far a width may move
MOVED = 4  # groups that a trial moves, on average; where all of 30 move at once, hardly one trial is better


def refine(
    records: Records, scores: Scores, starts: Sequence[IntArray], span: Span, options: Options
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
    widths, aims = distributions(records.net), dict[int, Aim]()

    def prepare(study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, Fit]:
        turn = _turn(study, trial)
        budget, seed = span.at((turn * GOLDEN + 0.5) % 1), mixed(options.seed, turn)
        aims[trial.number] = found = aim(records, budget, options.images, partial(publish, study))
        return options.sampler(seed), partial(_fitted, records.net.space, found, _few(len(widths), seed))

    def judge(trial: optuna.Trial) -> tuple[Interim, list[float]]:
        chosen = np.array([trial.suggest_int(name, each.low, each.high) for name, each in widths.items()])
        rival = aims[trial.number].rival
        interim = records.evaluate(strongest(scores, chosen), "refine", options.images, rival)
        stopped = interim.n < rival.n
        likely = replace(interim, loss=expected(interim.each, rival.each)) if stopped else interim
        return interim, _values(likely, span)

    name = f"{span}, {called(options.sampler)}, seed {options.seed}, {records.mark}"
    with opened(options.storage, name, _objectives(span)) as study:
        study.sampler = Projected(widths, prepare)
        entered = _enter(study, records, scores, starts, span, options.images)
        yield from rounds(study, records, entered + options.trials, judge)


def _few(groups: int, seed: int) -> BoolArray:
    """Which groups a trial moves: each with equal chance, one at least. Shape: → (G,)"""
    rng = np.random.default_rng(seed)
    moved = rng.random(groups) < MOVED / groups
    moved[rng.integers(groups)] = True
    return moved


def _fitted(space: Space, aimed: Aim, moved: BoolArray, wish: IntArray) -> IntArray:
    """A wish for some groups within a window around the rival, as wide as the budget lets it be. Shape: (G,) → (G,)"""
    centre, reach = aimed.rival.subnetwork.widths, np.maximum(1, np.ceil(WINDOW * space.dense))
    low, high = np.maximum(space.least, centre - reach), np.minimum(space.dense, centre + reach)
    return fit(space, aimed.budget, np.where(moved, np.clip(wish, low, high), centre))


def _enter(
    study: optuna.Study, records: Records, scores: Scores, starts: Sequence[IntArray], span: Span, images: int
) -> int:
    """Enter the starts as finished trials, once. Returns how many there are."""
    widths = distributions(records.net)
    known = [trial.params for trial in study.get_trials(deepcopy=False) if _is_start(trial)]
    for start in starts:
        interim = records.evaluate(strongest(scores, start), "start", images)
        params = dict(zip(widths, start.tolist(), strict=True))
        if params not in known:
            known.append(params)
            about = {"start": True, **attributes(interim, records)}
            values = _values(interim, span)
            study.add_trial(create_trial(params=params, distributions=dict(widths), values=values, user_attrs=about))
    return len(known)


def _turn(study: optuna.Study, trial: FrozenTrial) -> int:
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


def _objectives(span: Span) -> list[str]:
    """What is minimised."""
    return ["loss"] if span.single else ["macs", "loss"]


def _values(interim: Interim, span: Span) -> list[float]:
    """The objectives as Optuna takes them: NaN it refuses, which would leave the trial uncounted and asked again."""
    return [interim.finite] if span.single else [interim.macs, interim.finite]
