"""Several processes on one study, one of them killed, on SQLite and on a real PostgreSQL."""

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import optuna
import pytest
import working
from optuna.trial import FrozenTrial, TrialState
from server import server
from working import NET, Slow, work

from secateur.errors import SecateurError
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.search.importance.magnitude import l1
from secateur.search.records import Interim
from secateur.search.refine import database, retries
from secateur.search.refine.database import driver, open_study
from secateur.search.refine.queue import agreed
from secateur.search.refine.study import _require_room, _SurplusTrial, of_this_network

# Optuna's heartbeat threads leave their connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SCORES = l1(NET, Slow().split)
WORKER = Path(__file__).with_name("working.py")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'study.db'}"
    else:
        with server() as running:
            yield running.url


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "HEARTBEAT", 1)
    monkeypatch.setattr(retries, "GRACE", 3)
    monkeypatch.setattr(retries, "WAIT", 0.05)


def started(url: str, trials: int, seconds: float, *host: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), url, str(trials), str(seconds), *host]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> tuple[str, list[int]]:
    """What a worker says next, and of which widths."""
    assert process.stdout
    what, *widths = process.stdout.readline().split()
    return what, list(map(int, widths))


def trials_of(url: str) -> list[FrozenTrial]:
    (name,) = optuna.get_all_study_names(driver(url))
    with open_study(url, name, ["loss"]) as study:
        return [trial for trial in study.get_trials() if not trial.user_attrs.get("start")]


@pytest.mark.parametrize("host", [(), ("elsewhere",)], ids=["here", "elsewhere"])
def test_the_trial_of_a_killed_worker_is_taken_up_and_nothing_counts_twice(url: str, host: tuple[str, ...]) -> None:
    with started(url, 6, 60.0, *host) as victim:
        what, widths = line(victim)
        assert what == "begins"
        victim.send_signal(signal.SIGKILL)
    (running,) = trials_of(url)
    assert running.state is TrialState.RUNNING
    records = work(url, 6, 0.0)
    trials = trials_of(url)
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert [list(t.params.values()) for t in trials if t.state is TrialState.FAIL] == [widths]
    assert [list(t.params.values()) for t in done].count(widths) == 1
    assert len(done) == 6
    assert len({i.subnetwork for i in records.all}) == len(records.all)


def test_workers_share_the_trials_and_each_knows_all(url: str) -> None:
    with started(url, 10, 0.2) as other:
        assert line(other)[0] == "begins"  # the database and the starts are there
        mine = work(url, 10, 0.2)
        theirs = [words for words in other.communicate()[0].splitlines() if words.startswith("ends")]
    done = [trial for trial in trials_of(url) if trial.state is TrialState.COMPLETE]
    workers = {trial.user_attrs["worker"] for trial in done}
    assert len(workers) == 2
    assert len(theirs) >= 2
    assert len(done) == 10
    widths = {tuple(interim.subnetwork.widths) for interim in mine.all}
    assert {tuple(trial.params.values()) for trial in done} <= widths


def test_a_server_that_is_restarted_under_load_loses_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PAUSE", 0.1)
    evaluated: list[tuple[int, ...]] = []
    with server() as running:

        class Restarting(Slow):
            def evaluate(self, subnetwork: Subnetwork, source: str, *rest: object) -> Interim:
                known = {interim.subnetwork for interim in self.all}
                if source == "refine" and subnetwork not in known:
                    evaluated.append(tuple(subnetwork.widths))
                    if len(evaluated) in (2, 4):
                        running.stop()
                        Timer(0.5, running.start).start()
                return super().evaluate(subnetwork, source, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(working, "Slow", Restarting)
        work(running.url, 6, 0.0)
        trials = trials_of(running.url)
    done = [tuple(trial.params.values()) for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(done) == 6
    assert {*evaluated} <= {*done}
    assert TrialState.RUNNING not in {trial.state for trial in trials}


def test_processes_that_share_a_search_end_with_one_winner(url: str) -> None:
    one, other = Slow(), Slow()
    first, second = (one.evaluate(top_channels(SCORES, NET.space.dense - n), "a", 16) for n in (1, 2))
    assert agreed(first, one, "final", url) == first
    assert agreed(second, other, "final", url) == first


def test_starts_that_two_processes_enter_at_once_are_there_once(url: str) -> None:
    both = [started(url, 0, 0.0) for _ in range(2)]
    for each in both:
        each.communicate(timeout=120)
        assert each.returncode == 0
    (name,) = optuna.get_all_study_names(driver(url))
    with open_study(url, name, ["loss"]) as study:
        assert len(study.trials) == len({tuple(trial.params.values()) for trial in study.trials})


def test_of_two_processes_that_begin_the_last_trial_the_second_gives_way() -> None:
    with open_study(None, "name", ["loss"]) as study:
        first, second = study.ask(), study.ask()
        _require_room(study, first, 1)
        with pytest.raises(_SurplusTrial):
            _require_room(study, second, 1)
        _require_room(study, second, 2)


OTHER = Interim(Subnetwork(((99,), (0,), (0,), (0,))), "refine", 0.5, 0.5, 2, 100, 10, bytes(4)).to_json()


@pytest.mark.parametrize("value", [5, None, [], "x", OTHER], ids=["number", "none", "list", "text", "other"])
def test_an_attribute_that_is_no_evaluation_of_this_network_is_refused(value: Any) -> None:
    with pytest.raises(SecateurError, match=r"it is no evaluation|channel 99 is kept of group"):
        of_this_network(value, NET)
