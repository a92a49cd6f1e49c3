"""A study that any number of processes share, on one machine (SQLite) or on several (PostgreSQL).

Each runs one trial after the other until all are done, and learns what the others found from the study. A trial whose
process is lost is taken up by another: at once where that process ran on this machine, else when its heartbeat
has failed for a minute.
"""

import os
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import log
from typing import Any, TypeAlias

import optuna
from optuna.distributions import IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from ...errors import SecateurError
from ...models.supernet import Supernet
from ..records import Interim, Records, hypervolume
from .samplers import Sampler, tpe

HEARTBEAT, GRACE = 15, 60  # seconds between two signs of life; without one for so long a trial is lost
HOST = socket.gethostname()
WHOLE = "whole"  # how attributes of the study begin that hold evaluations on the whole holdout
WAIT = 0.5  # seconds between two looks at what other processes still do

Judge: TypeAlias = Callable[[optuna.Trial], tuple[Interim, list[float]]]  # → what was found, its objectives


@dataclass(frozen=True)
class StudyOptions:
    """``trials`` of a ``sampler``, each scored on ``images``; the ``storage`` of the study (None: in memory)."""

    trials: int = 100
    images: int = 1000
    seed: int = 0
    storage: str | None = None
    sampler: Sampler = tpe


@contextmanager
def opened(storage: str | None, name: str, objectives: Sequence[str]) -> Iterator[optuna.Study]:
    """The study of this name, all its objectives minimised: a new one, or as it was left, or as others work on it."""
    with _quiet():
        database = _database(storage) if storage else None
        study = optuna.create_study(
            storage=database,
            study_name=name,
            directions=[StudyDirection.MINIMIZE] * len(objectives),
            load_if_exists=True,
        )
        study.set_metric_names(list(objectives))
    try:
        yield study
    finally:
        if database:
            _close(database)


def require_database(url: str) -> None:
    """Raise SecateurError where no study can be kept in this database."""
    with _quiet():
        _close(_database(url))


def driver(url: str) -> str:
    """The URL as SQLAlchemy wants it for psycopg 3: people write postgresql://."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def run_trials(study: optuna.Study, records: Records, total: int, judge: Judge) -> Iterator[Interim]:
    """Trials until exactly ``total`` are complete, whoever runs them; yields what this process evaluated."""
    learned: set[int | str] = set()
    while True:
        _release(study)
        _learn(study, records, learned)
        count = Counter(trial.state for trial in study.get_trials(deepcopy=False))
        if count[TrialState.COMPLETE] >= total:
            return
        if count[TrialState.WAITING] or count[TrialState.COMPLETE] + count[TrialState.RUNNING] < total:
            yield from _one(study, records, total, judge)
        else:
            time.sleep(WAIT)  # others run the last ones
            with _quiet():
                fail_stale_trials(study)


def publish(study: optuna.Study, interim: Interim) -> None:
    """Let other processes know an evaluation that is no trial's."""
    study.set_user_attr(f"{WHOLE} {interim.subnetwork.digest}", interim.to_json())


def distributions(net: Supernet) -> dict[str, IntDistribution]:
    """The widths of every group, as parameters."""
    pairs = zip(net.groups, net.space.min_widths.tolist(), net.space.dense.tolist(), strict=True)
    return {group.name: IntDistribution(least, dense) for group, least, dense in pairs}


def attributes(interim: Interim, records: Records) -> dict[str, float | str]:
    """What a trial says beside its objectives; the hypervolume is that of all evaluated so far."""
    known = (each for each in records.all if each.n == interim.n)
    area = hypervolume(known, records.net.macs(records.net.dense), log(int(records.split.labels.max()) + 1))
    costs = {"accuracy": interim.accuracy, "n": interim.n, "macs": interim.macs, "parameters": interim.parameters}
    return {**costs, "hypervolume": area, "interim": interim.to_json()}


class _TooManyTrials(Exception):  # noqa: N818  (it ends a trial, and is no error)
    """Several processes began the last trial."""


def _one(study: optuna.Study, records: Records, total: int, judge: Judge) -> list[Interim]:
    """Run one trial, of the queue or new."""
    found: list[Interim] = []

    def judged(trial: optuna.Trial) -> list[float]:
        trial.set_user_attr("worker", _me())
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        if sum(other.number < trial.number for other in study.get_trials(deepcopy=False, states=states)) >= total:
            raise _TooManyTrials
        try:
            interim, values = judge(trial)
        except BaseException:  # Ctrl-C, too
            _again(study, study.trials[trial.number])
            raise
        for name, value in attributes(interim, records).items():
            trial.set_user_attr(name, value)
        found.append(interim)
        return values

    with _quiet(), suppress(UpdateFinishedTrialError):  # it was taken for lost, and is another's now
        study.optimize(judged, n_trials=1, catch=_TooManyTrials)
    return found


def _release(study: optuna.Study) -> None:
    """Give up the trials that processes of this machine left when they ended."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = trial.user_attrs.get("worker", "").rpartition(":")
        if host == HOST and not _alive(int(process)):
            with suppress(ValueError, UpdateFinishedTrialError):  # another was faster
                study.tell(trial.number, state=TrialState.FAIL)
                _again(study, trial)


def _again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a lost trial anew. One that had not got all of its widths yet has lost nothing."""
    all_widths = study.sampler.infer_relative_search_space(study, trial)
    if "fixed_params" in trial.system_attrs or len(trial.params) == len(all_widths):
        with _quiet():
            RetryHeartbeatStaleTrialCallback()(study, trial)


def _learn(study: optuna.Study, records: Records, learned: set[int | str]) -> None:
    """Take over what other processes evaluated."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.number not in learned:
            learned.add(trial.number)
            records.add(Interim.from_json(trial.user_attrs["interim"]))
    for name, line in study.user_attrs.items():
        if name.startswith(WHOLE) and name not in learned:
            learned.add(name)
            records.add(Interim.from_json(line))


def _database(url: str) -> RDBStorage:
    """The database, its tables made where it is new; two processes that begin at once may both try."""
    with suppress(SQLAlchemyError, ImportError):
        return _connected(url)
    time.sleep(WAIT)
    try:
        return _connected(url)
    except (SQLAlchemyError, ImportError) as error:
        what = str(error).splitlines()[0]
        raise SecateurError(
            f"no study can be kept at {url} ({what}); give --storage sqlite:///FILE or postgresql://..."
        ) from error


def _close(database: RDBStorage) -> None:
    database.remove_session()
    database.engine.dispose()


def _connected(url: str) -> RDBStorage:
    patience = {"connect_args": {"timeout": GRACE}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    beats: dict[str, Any] = {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE}
    database = RDBStorage(driver(url), patience, **beats, heartbeat_stale_trial_callback=_again)
    if url.startswith("sqlite"):
        event.listen(database.engine, "connect", _hasten)
        database.engine.dispose()  # those connections that were made before
    return database


def _hasten(connection: Any, _: object) -> None:
    """Commit without a wait for the disk: Optuna does so for every width of every trial.

    A write-ahead log keeps what a killed process committed; a power cut may take the last trials, never the rest.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's words, about trials that end and about what it calls experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _alive(process: int) -> bool:
    """Whether a process of this machine is there: signal 0 asks, and does nothing."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _me() -> str:
    return f"{HOST}:{os.getpid()}"
