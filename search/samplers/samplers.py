"""Samplers that propose widths: Optuna's, their proposals fitted to the budget."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from ...models.tracing.atoms import IntArray
from ..evaluation import name_of
from .cmaes_sampler import CmaEsSampler

Sampler: TypeAlias = Callable[[int], BaseSampler]  # seed → sampler
Fit: TypeAlias = Callable[[IntArray], IntArray]  # preferred widths → widths at the budget, (G,) each


class BudgetSampler(BaseSampler):
    """Any sampler, its proposals fitted to the budget before Optuna records them.

    So a trial's parameters are the widths that were evaluated: every trial is feasible and counts, and the
    sampler learns from what was measured rather than from what it proposed. ``prepare`` returns the sampler and the
    fit of a trial.
    """

    def __init__(
        self,
        widths: dict[str, IntDistribution],
        prepare: Callable[[optuna.Study, FrozenTrial], tuple[BaseSampler, Fit]],
    ):
        self._widths, self._prepare = widths, prepare
        self._inner: BaseSampler = RandomSampler()  # for trials that end without having begun here

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Prepare the trial, and pass it on."""
        self._inner, self._fit = self._prepare(study, trial)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All widths, known from the start."""
        return dict(self._widths)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposal of the inner sampler, fitted."""
        preferred = self._inner.sample_relative(study, trial, search_space)
        for name, distribution in search_space.items():
            if name not in preferred:
                preferred[name] = self._inner.sample_independent(study, trial, name, distribution)
        fitted = self._fit(np.array([preferred[name] for name in search_space]))
        return dict(zip(search_space, fitted.tolist(), strict=True))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: all widths are sampled together."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

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
    """Genetic search with crossover; it begins at random: the coarse points are not among its parents."""
    return NSGAIISampler(seed=seed, population_size=20)


def random_sampler(seed: int) -> BaseSampler:
    """Any widths around the best so far: the control."""
    return RandomSampler(seed=seed)


# By their names on the command line.
SAMPLERS: dict[str, Sampler] = {"tpe": tpe, "cmaes": CmaEsSampler, "gp": gp, "nsga2": nsga2, "random": random_sampler}
# In the names of studies, so that a study of an earlier version is found again.
_STUDY_NAMES = {"cmaes": "Evolution"}


def sampler_name(sampler: Sampler) -> str:
    """Its name in ``SAMPLERS``; of any other its own name, the same in every process."""
    return next((name for name, each in SAMPLERS.items() if each is sampler), name_of(sampler))


def study_name(sampler: Sampler) -> str:
    """The name of a sampler in the name of its study."""
    return _STUDY_NAMES.get(sampler_name(sampler), sampler_name(sampler))
