from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution

from secateur.errors import SecateurError
from secateur.search.samplers.cmaes_sampler import CmaEsSampler

WIDTHS = {name: IntDistribution(1, 60) for name in "abcd"} | {"fixed": IntDistribution(3, 3)}
BEST = {"a": 10, "b": 40, "c": 25, "d": 55}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def away(trial: optuna.Trial) -> float:
    widths = {name: trial.suggest_int(name, each.low, each.high) for name, each in WIDTHS.items()}
    return float(sum((widths[name] - best) ** 2 for name, best in BEST.items()))


def searched(trials: int, storage: str | None = None) -> optuna.Study:
    """As the fine search does: a start, and a sampler of its own for each trial."""
    study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
    if not study.trials:
        start = {**dict.fromkeys("abcd", 30), "fixed": 3}
        study.add_trial(optuna.create_trial(params=start, distributions=dict(WIDTHS), value=1650.0))
    for turn in range(len(study.trials), trials):
        study.sampler = CmaEsSampler(turn)
        study.optimize(away, n_trials=1)
    return study


def test_it_comes_nearer_to_the_best_than_chance_does() -> None:
    rng = np.random.default_rng(0)
    chance = min(sum((rng.integers(1, 61) - best) ** 2 for best in BEST.values()) for _ in range(150))
    assert searched(150).best_value < min(60, chance)


def test_a_study_goes_on_as_if_it_had_not_been_left_and_holds_no_pickle(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    searched(14, storage)
    again = searched(25, storage)
    assert [trial.params for trial in again.trials] == [trial.params for trial in searched(25).trials]
    assert not any("cma" in key for trial in again.trials for key in trial.system_attrs)


def test_two_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(SecateurError, match="one budget"):
        CmaEsSampler(0).sample_relative(study, optuna.create_trial(values=[0.0, 0.0]), dict(WIDTHS))


def test_the_first_generation_is_drawn_around_the_best_start() -> None:
    study = optuna.create_study()
    for width, loss in ((5, 3.0), (50, 1.0), (20, 2.0)):
        params = {**dict.fromkeys("abcd", width), "fixed": 3}
        study.add_trial(optuna.create_trial(params=params, distributions=dict(WIDTHS), value=loss))
    trial = study.trials[-1]
    drawn = [CmaEsSampler(seed).sample_relative(study, trial, dict(WIDTHS)) for seed in range(40)]
    assert np.mean([[each[name] for name in "abcd"] for each in drawn]) == pytest.approx(50, abs=4)
