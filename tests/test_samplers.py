import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from secateur.models.tracing.atoms import IntArray
from secateur.search.samplers.samplers import SAMPLERS, BudgetSampler, Fit, sampler_name, study_name

WIDTHS = {"a": IntDistribution(1, 20), "b": IntDistribution(1, 20), "c": IntDistribution(4, 4)}
BEFORE = optuna.logging.get_verbosity()


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def even(wish: IntArray) -> IntArray:
    fitted: IntArray = np.maximum(2, wish // 2 * 2)
    return fitted


def loss(trial: optuna.Trial) -> float:
    return float(sum(trial.suggest_int(name, each.low, each.high) for name, each in WIDTHS.items()))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_what_a_study_records_is_the_proposal_as_it_was_fitted(name: str) -> None:
    def prepare(study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, Fit]:
        return SAMPLERS[name](trial.number), even

    study = optuna.create_study(sampler=BudgetSampler(WIDTHS, prepare))
    study.add_trial(optuna.create_trial(params={"a": 4, "b": 4, "c": 4}, distributions=WIDTHS, value=12.0))  # type: ignore[arg-type]
    study.optimize(loss, n_trials=8)
    assert {trial.params[n] % 2 for trial in study.trials for n in WIDTHS} == {0}
    assert all(trial.value == sum(trial.params.values()) for trial in study.trials)
    assert len({tuple(trial.params.values()) for trial in study.trials}) > 2


def test_every_trial_has_the_sampler_and_the_fit_that_were_prepared_for_it() -> None:
    def prepare(study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, Fit]:
        return RandomSampler(seed=0), lambda wish: np.full_like(wish, trial.number + 1)

    study = optuna.create_study(sampler=BudgetSampler(WIDTHS | {"c": IntDistribution(1, 20)}, prepare))
    study.optimize(lambda trial: float(trial.suggest_int("a", 1, 20)), n_trials=4)
    assert [trial.params["a"] for trial in study.trials] == [1, 2, 3, 4]


def test_the_names_of_samplers_in_studies_are_those_of_earlier_versions() -> None:
    assert [study_name(each) for each in SAMPLERS.values()] == ["tpe", "Evolution", "gp", "nsga2", "random"]


def test_a_users_sampler_goes_by_its_own_name() -> None:
    def mine(seed: int) -> BaseSampler:
        return RandomSampler(seed)

    assert (sampler_name(mine), study_name(mine)) == ("mine", "mine")
