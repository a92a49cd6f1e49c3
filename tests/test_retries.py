"""The states of a lost trial, one by one; tests of the study lose real processes."""

import os
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import RandomSampler
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

from secateur.search.refine import retries
from secateur.search.refine.database import open_study
from secateur.search.refine.quiet import quiet
from secateur.search.refine.retries import (
    WORKER,
    Unsigned,
    beating,
    enqueued,
    heartbeat,
    is_alive,
    release_lost,
    repeated,
    requeue,
    sign,
)
from secateur.search.samplers.samplers import BudgetSampler

WIDTHS = {"a": IntDistribution(1, 20), "b": IntDistribution(1, 20)}


@pytest.fixture
def study() -> optuna.Study:
    """Of widths that a sampler draws."""
    with quiet():
        return optuna.create_study(sampler=BudgetSampler(WIDTHS, lambda *_: (RandomSampler(0), lambda widths: widths)))


@pytest.fixture(scope="module")
def ended() -> int:
    """The number of a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def running(study: optuna.Study, worker: str, widths: int = 2) -> FrozenTrial:
    """A trial that this worker runs, with so many of its widths chosen."""
    trial = study.ask()
    for name, each in list(WIDTHS.items())[:widths]:
        trial.suggest_int(name, each.low, each.high)
    trial.set_user_attr(WORKER, worker)
    return study.trials[trial.number]


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_a_trial_whose_process_is_gone_fails_and_is_queued_again_with_its_widths(
    study: optuna.Study, ended: int
) -> None:
    lost = running(study, f"{retries.HOST}:{ended}")
    release_lost(study)
    assert states(study) == ["FAIL", "WAITING"]
    assert (repeated(study.trials[1]), enqueued(study.trials[1])) == (lost.number, {})
    again = study.ask()
    assert {name: again.suggest_int(name, each.low, each.high) for name, each in WIDTHS.items()} == lost.params
    assert states(study) == ["FAIL", "RUNNING"]


WORKERS = [f"{retries.HOST}:{os.getpid()}", "elsewhere:1", "", f"{retries.HOST}:²", f"{retries.HOST}:x", "x"]


@pytest.mark.parametrize("worker", WORKERS, ids=range(len(WORKERS)))
def test_a_trial_whose_process_may_be_alive_is_left_alone(study: optuna.Study, worker: str) -> None:
    running(study, worker)
    release_lost(study)
    assert states(study) == ["RUNNING"]


def test_what_this_process_signed_before_is_released_while_it_runs_nothing(study: optuna.Study) -> None:
    lost = running(study, retries.worker())
    release_lost(study, mine=True)
    assert states(study) == ["FAIL", "WAITING"]
    assert repeated(study.trials[1]) == lost.number


def test_a_trial_is_queued_again_once_and_belongs_to_nobody_until_it_is_signed(study: optuna.Study) -> None:
    lost = running(study, "elsewhere:1")
    requeue(study, lost)
    requeue(study, lost)
    assert states(study) == ["RUNNING", "WAITING"]
    assert WORKER not in study.trials[1].user_attrs


def test_a_trial_that_nobody_signs_is_lost_after_the_grace_and_no_clock_is_asked(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 60.0, 61.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    study.ask()
    signed = study.ask()
    sign(study, signed)
    unsigned = Unsigned()
    assert [[trial.number for trial in unsigned.lost(study)] for _ in range(3)] == [[], [], [0]]


def test_a_trial_beats_while_its_widths_are_chosen_and_a_storage_in_memory_need_not(tmp_path: Path) -> None:
    with open_study(f"sqlite:///{tmp_path / 'study.db'}", "name", ["loss"]) as stored:
        with warnings.catch_warnings(action="ignore"):
            trial = stored.ask()
        with beating(stored, stored.trials[trial.number]):
            pass
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        assert connection.execute("SELECT count(*) FROM trial_heartbeats").fetchone() == (1,)
    with open_study(None, "name", ["loss"]) as held:
        held.ask()
        with beating(held, held.trials[0]):
            pass


def test_a_trial_without_all_of_its_widths_is_not_queued_again(study: optuna.Study, ended: int) -> None:
    running(study, f"{retries.HOST}:{ended}", widths=0)
    release_lost(study)
    assert states(study) == ["FAIL"]


def test_a_queued_trial_is_queued_again_before_it_has_its_widths(study: optuna.Study, ended: int) -> None:
    study.enqueue_trial({"a": 3, "b": 4})
    running(study, f"{retries.HOST}:{ended}", widths=0)
    release_lost(study)
    assert states(study) == ["FAIL", "WAITING"]
    assert enqueued(study.trials[1]) == {"a": 3, "b": 4}


def test_a_trial_that_is_lost_twice_repeats_the_first(study: optuna.Study, ended: int) -> None:
    first = running(study, f"{retries.HOST}:{ended}")
    for _ in range(2):
        release_lost(study)
        running(study, f"{retries.HOST}:{ended}")
    assert [repeated(trial) for trial in study.trials] == [None, first.number, first.number]
    with quiet():
        theirs = [RetryHeartbeatStaleTrialCallback.retried_trial_number(trial) for trial in study.trials]
    assert theirs == [repeated(trial) for trial in study.trials]


def test_a_trial_names_the_process_that_runs_it(study: optuna.Study) -> None:
    trial = study.ask()
    sign(study, trial)
    assert study.trials[0].user_attrs[WORKER] == f"{retries.HOST}:{os.getpid()}"
    assert is_alive(os.getpid())


def test_a_process_that_has_ended_is_not_alive_and_one_of_another_user_is(ended: int) -> None:
    assert not is_alive(ended)
    assert is_alive(1)
    assert not is_alive(10**30)


def test_a_storage_queues_a_trial_again_whose_heartbeat_is_a_minute_old() -> None:
    assert heartbeat() == {
        "heartbeat_interval": 15,
        "grace_period": 60,
        "heartbeat_stale_trial_callback": requeue,
    }
