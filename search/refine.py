"""The fine search: Optuna refines the widths under the budget. The only module that knows Optuna."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..models.atoms import IntArray
from ..models.budget import Budget, Space, fit
from ..models.span import Span
from ..models.subnetwork import strongest
from .importance import Scores
from .interim import Interim, Records, hypervolume

Sampler: TypeAlias = Callable[[int], BaseSampler]  # seed → sampler

GOLDEN = 0.6180339887498949  # its multiples, less their whole part, fill a span evenly, however many there are
WINDOW = 0.3  # of a group: how far from the best start a width may move


class Projected(BaseSampler):
    """Any sampler, its proposals fitted to the budget before Optuna records them.

    So a trial's parameters are the widths that were evaluated: every trial is feasible and counts, and the
    sampler learns from what was measured rather than from what it had wished.
    """

    def __init__(self, inner: BaseSampler, widths: dict[str, IntDistribution], project: Callable[[IntArray], IntArray]):
        self._inner, self._widths, self._project = inner, widths, project

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All widths, known from the start."""
        return dict(self._widths)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the inner sampler proposes, fitted."""
        wish = self._inner.sample_relative(study, trial, search_space)
        for name, distribution in search_space.items():
            if name not in wish:
                wish[name] = self._inner.sample_independent(study, trial, name, distribution)
        fitted = self._project(np.array([wish[name] for name in search_space]))
        return dict(zip(search_space, fitted.tolist(), strict=True))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: all widths are sampled together."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Pass on."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Pass on."""
        self._inner.after_trial(study, trial, state, values)


def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator over all widths jointly; the coarse points stand in for its start-up."""
    return TPESampler(seed=seed, multivariate=True, n_startup_trials=0, n_ei_candidates=64)


def gp(seed: int) -> BaseSampler:
    """Gaussian process with expected improvement; seconds a trial where there are many groups."""
    return GPSampler(seed=seed, n_startup_trials=0)


def nsga2(seed: int) -> BaseSampler:
    """Genetic search with crossover; it begins at random, the coarse points are none of its parents."""
    return NSGAIISampler(seed=seed, population_size=20)


def random(seed: int) -> BaseSampler:
    """Any widths around the best start: the control."""
    return RandomSampler(seed=seed)


# The words of --sampler. CMA-ES is not among them: Optuna's keeps its state as a pickle in the study.
SAMPLERS: dict[str, Sampler] = {"tpe": tpe, "gp": gp, "nsga2": nsga2, "random": random}


@dataclass(frozen=True)
class RefineOptions:
    """``trials`` beyond the starts, each scored on ``images``; the study's ``storage`` (None: in memory)."""

    trials: int = 100
    images: int = 1000
    seed: int = 0
    storage: str | None = None
    sampler: Sampler = tpe


def refine(
    records: Records, scores: Scores, starts: Sequence[IntArray], span: Span, options: RefineOptions
) -> Iterator[Interim]:
    """Interim subnetworks at the budget, as they are evaluated; over a span, each at a budget of its own.

    A search over a span is one of two objectives, MACs and loss: trial after trial draws its budget, evenly over the
    span, and looks around the best subnetwork so far that meets it. At a single budget it is the loss alone, around
    the best start.

    The widths in ``starts`` enter the study as finished trials. A stored study is taken up where it
    stopped: the sampler is seeded anew for each trial from (seed, trials finished), so an interrupted
    search goes on exactly as if it had not been, and a trial that a kill left running is closed.

    Shape: starts (G,) each
    """
    net, space = records.net, records.net.space
    study = _study(options.storage, f"{span}, seed {options.seed}", span)
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
    best = _start(study, records, scores, starts, span, options.images)
    widths = _distributions([g.name for g in net.groups], space.least, space.dense)
    while (done := _searched(study)) < options.trials:
        budget = span.at((done * GOLDEN + 0.5) % 1)
        centre = best if span.single else _best_within(records, budget, options.images)
        project = partial(_fitted, space, budget, centre)
        study.sampler = Projected(options.sampler(_mixed(options.seed, done)), widths, project)
        trial = study.ask()
        chosen = np.array([trial.suggest_int(name, each.low, each.high) for name, each in widths.items()])
        interim = records.evaluate(strongest(scores, chosen), "refine", options.images)
        for key, value in _attributes(interim, records).items():
            trial.set_user_attr(key, value)
        study.tell(trial, _values(interim, span))
        yield interim


def _fitted(space: Space, budget: Budget, centre: IntArray, wish: IntArray) -> IntArray:
    """A wish within a window around ``centre``, as wide as the budget lets it be. Shape: (G,), (G,) → (G,)"""
    reach = np.maximum(1, np.ceil(WINDOW * space.dense))
    low, high = np.maximum(space.least, centre - reach), np.minimum(space.dense, centre + reach)
    return fit(space, budget, np.clip(wish, low, high).astype(np.float64))


def _best_within(records: Records, budget: Budget, images: int) -> IntArray:
    """The widths of the lowest loss so far that meet the budget. Shape: → (G,)"""
    costs = records.net.space.costs
    met = (i for i in records.all if i.n == images and budget.holds(costs, i.subnetwork.widths))
    return min(met, key=lambda i: (_finite(i.loss), i.subnetwork.kept)).subnetwork.widths


def _attributes(interim: Interim, records: Records) -> dict[str, float]:
    """What a trial says beside its values; the hypervolume is that of all trials so far."""
    net = records.net
    known = (each for each in records.all if each.n == interim.n)
    area = hypervolume(known, net.macs(net.dense), log(int(records.split.labels.max()) + 1))
    costs = {"accuracy": interim.accuracy, "macs": interim.macs, "parameters": interim.parameters}
    return {**costs, "hypervolume": area}


def _study(storage: str | None, name: str, span: Span) -> optuna.Study:
    """The study of a search, new or taken up, without Optuna's word about it."""
    directions = [StudyDirection.MINIMIZE] * len(_objectives(span))
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    finally:
        optuna.logging.set_verbosity(before)


def _start(
    study: optuna.Study, records: Records, scores: Scores, starts: Sequence[IntArray], span: Span, images: int
) -> IntArray:
    """Enter the starts as finished trials, once. Returns the widths of the best."""
    space = records.net.space
    widths = _distributions([g.name for g in records.net.groups], space.least, space.dense)
    known = [t.params for t in study.get_trials(deepcopy=False) if t.user_attrs.get("start")]
    evaluated: list[tuple[float, int]] = []
    for start in starts:
        interim = records.evaluate(strongest(scores, start), "start", images)
        params = dict(zip(widths, start.tolist(), strict=True))
        if params not in known:
            known.append(params)
            attributes = {"start": True, **_attributes(interim, records)}
            values = _values(interim, span)
            study.add_trial(
                create_trial(params=params, distributions=dict(widths), values=values, user_attrs=attributes)
            )
        evaluated.append((interim.loss, len(evaluated)))
    return starts[min(evaluated)[1]]


def _objectives(span: Span) -> list[str]:
    """What is minimised."""
    return ["loss"] if span.single else ["macs", "loss"]


def _values(interim: Interim, span: Span) -> list[float]:
    """The objectives as Optuna takes them: NaN it refuses, which would leave the trial uncounted and asked again."""
    return [_finite(getattr(interim, name)) for name in _objectives(span)]


def _finite(loss: float) -> float:
    return loss if loss == loss else float("inf")


def _distributions(names: Sequence[str], least: IntArray, dense: IntArray) -> dict[str, IntDistribution]:
    return {n: IntDistribution(int(a), int(b)) for n, a, b in zip(names, least, dense, strict=True)}


def _searched(study: optuna.Study) -> int:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sum(not trial.user_attrs.get("start") for trial in done)


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
