"""CMA-ES without a pickle: Optuna's own sampler keeps its state as one in the study."""

from typing import Any

import cmaes
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from ...errors import SecateurError
from ...models.tracing.atoms import FloatArray

ONE_OBJECTIVE = "cmaes has one objective; give one budget, or tpe, gp or nsga2 for a range"
SPREAD = 0.15  # of a group's range: how far the first generation lies from the best start


class CmaEsSampler(BaseSampler):
    """Covariance matrix adaptation, its state worked out anew from the finished trials for each proposal.

    Widths are scaled to [0, 1]. The mean begins at the best trial of the first generation, which holds the starts, and
    follows each further generation of trials, in their order, as they were evaluated. Hansen 2016,
    https://arxiv.org/abs/1604.00772, by the library cmaes. One objective only.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self._independent = seed, RandomSampler(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All widths."""
        return dict(optuna.search_space.intersection_search_space(study.get_trials(deepcopy=False)))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One draw from the distribution that the finished trials lead to."""
        if len(study.directions) > 1:
            raise SecateurError(ONE_OBJECTIVE)
        low, high = (np.array([getattr(each, end) for each in search_space.values()]) for end in ("low", "high"))
        range_ = np.maximum(high - low, 1)
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        told = [((np.array([each.params[n] for n in search_space]) - low) / range_, each.value) for each in done]
        wish = self._state(told, len(low)).ask() * range_ + low
        return dict(zip(search_space, np.clip(np.rint(wish), low, high).astype(int).tolist(), strict=True))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """By chance."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _state(self, told: list[tuple[FloatArray, Any]], groups: int) -> cmaes.CMA:
        """CMA-ES after these points and their losses. Shape: points (G,) in [0, 1]"""
        bounds = np.tile([0.0, 1.0], (groups, 1))
        size = 4 + int(3 * np.log(groups))
        mean = min(told[:size], key=lambda pair: float(pair[1]))[0] if told else np.full(groups, 0.5)
        state = cmaes.CMA(mean, SPREAD, bounds, seed=self.seed % 2**32, population_size=size)
        for start in range(0, len(told) - size + 1, size):
            state.tell([(point, float(loss)) for point, loss in told[start : start + size]])
        return state
