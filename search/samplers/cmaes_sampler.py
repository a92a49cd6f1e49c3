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

ONE_OBJECTIVE = "cmaes has one objective; pass one budget, or tpe, gp or nsga2 for a range"
SPREAD = 0.15  # of a group's range: the spread of the first generation around the best start


class CmaEsSampler(BaseSampler):
    """Covariance matrix adaptation, its state recomputed from the finished trials for each proposal.

    Widths are scaled to [0, 1]. The mean starts at the best trial of the first generation, which holds the starts, and
    is updated with each further generation of trials, in the order in which they were evaluated. Hansen 2016,
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
        """One draw from the distribution after the finished trials."""
        if len(study.directions) > 1:
            raise SecateurError(ONE_OBJECTIVE)
        low, high = (np.array([getattr(each, end) for each in search_space.values()]) for end in ("low", "high"))
        range_ = np.maximum(high - low, 1)
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        points = [((np.array([each.params[n] for n in search_space]) - low) / range_, each.value) for each in done]
        drawn = self._state(points, len(low)).ask() * range_ + low
        return dict(zip(search_space, np.clip(np.rint(drawn), low, high).astype(int).tolist(), strict=True))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """At random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _state(self, points: list[tuple[FloatArray, Any]], groups: int) -> cmaes.CMA:
        """CMA-ES after these points and their losses. Shape: points (G,) in [0, 1]"""
        bounds = np.tile([0.0, 1.0], (groups, 1))
        size = 4 + int(3 * np.log(groups))
        mean = min(points[:size], key=lambda pair: float(pair[1]))[0] if points else np.full(groups, 0.5)
        state = cmaes.CMA(mean, SPREAD, bounds, seed=self.seed % 2**32, population_size=size)
        for start in range(0, len(points) - size + 1, size):
            state.tell([(point, float(loss)) for point, loss in points[start : start + size]])
        return state
