"""Lost trials: how they are noticed, and how they are queued again.

The states of a trial are Optuna's. Only complete trials count, so no lost one is missed:

    ask, enqueue ──▶ WAITING ──ask──▶ RUNNING ──tell──▶ COMPLETE
                        ▲                │
                        │                ├─ its evaluation raised, or Ctrl-C        requeue
                        │                ├─ its process on this machine is gone     release_lost
                        │                ├─ its heartbeat is a minute old           fail_stale
                        │                ├─ nobody signed it for a minute           Unsigned
                        │                └─ it is one more than was asked for       (not queued again)
                        │                │
                        └─── requeue ◀── FAIL

A trial that is queued again is a new one, with the widths of the first and a note of which it repeats. A process signs
a trial, and its heartbeats begin, before its widths are chosen, which may take an evaluation on the whole holdout.
"""

import copy
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState

from .quiet import quiet

HEARTBEAT, GRACE = 15, 60  # seconds between two heartbeats; a trial without one for so long is lost
WAIT = 0.5  # seconds between two looks at the trials of other processes
HOST = socket.gethostname()
WORKER = "worker"  # the attribute of a trial that names the process that runs it: HOST:PROCESS


def heartbeat() -> dict[str, Any]:
    """The options of an Optuna storage that make it notice lost trials and queue them again."""
    return {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE, "heartbeat_stale_trial_callback": requeue}


def worker() -> str:
    """What signs the trials of this process."""
    return f"{HOST}:{os.getpid()}"


def sign(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> None:
    """Note in a trial that this process runs it. A sampler has no accessor for it before Optuna returns the trial."""
    study._storage.set_trial_user_attr(trial._trial_id, WORKER, worker())


@contextmanager
def beating(study: optuna.Study, trial: FrozenTrial) -> Iterator[None]:
    """Heartbeats of a trial whose widths are being chosen; Optuna's own begin after that."""
    storage, stop = study._storage, threading.Event()
    thread = threading.Thread(target=_beat, args=(storage, trial._trial_id, stop), daemon=True)
    if isinstance(storage, BaseHeartbeat):
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if thread.ident:
            thread.join()


def _beat(storage: Any, trial: int, stop: threading.Event) -> None:
    try:
        storage.record_heartbeat(trial)
        while not stop.wait(HEARTBEAT):
            storage.record_heartbeat(trial)
    finally:
        storage.remove_session()


def release_lost(study: optuna.Study, *, mine: bool = False) -> None:
    """Fail and requeue the running trials of processes of this machine that have ended: no need to wait a minute.

    ``mine``: also those that this process signed, while it runs none.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        signed = str(trial.user_attrs.get(WORKER))
        host, _, process = signed.rpartition(":")
        gone = host == HOST and process.isdecimal() and not is_alive(int(process))
        if gone or (mine and signed == worker()):
            _fail(study, trial)


def fail_stale(study: optuna.Study, unsigned: "Unsigned") -> None:
    """Wait a moment for the trials of other processes, then fail and requeue those that are lost."""
    time.sleep(WAIT)
    with quiet():
        fail_stale_trials(study)
    for trial in unsigned.lost(study):
        _fail(study, trial)


class Unsigned:
    """Trials that nobody signed: their process ended just after it had asked for them, before the first heartbeat.

    How long that is so is measured by this process, whatever the clocks of others say.
    """

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def lost(self, study: optuna.Study) -> list[FrozenTrial]:
        """Those that this process has seen unsigned for as long as a heartbeat may be missing."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        now, unsigned = time.monotonic(), [trial for trial in running if WORKER not in trial.user_attrs]
        self._since = {trial.number: self._since.get(trial.number, now) for trial in unsigned}
        return [trial for trial in unsigned if now - self._since[trial.number] > GRACE]


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a lost trial again, once. One whose widths had not all been chosen yet has lost nothing, and is not."""
    all_widths = study.sampler.infer_relative_search_space(study, trial)
    if (enqueued(trial) or len(trial.params) == len(all_widths)) and not _is_requeued(study, trial):
        again = copy.deepcopy(trial)
        again.user_attrs.pop(WORKER, None)
        with quiet():
            RetryHeartbeatStaleTrialCallback()(study, again)


def _fail(study: optuna.Study, trial: FrozenTrial) -> None:
    with suppress(ValueError, UpdateFinishedTrialError):  # another process was faster
        study.tell(trial.number, state=TrialState.FAIL)
        requeue(study, trial)


def _is_requeued(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial repeats this one already: the process that noticed may have been lost after that."""
    others = study.get_trials(deepcopy=False)
    return any(trial.number in other.system_attrs.get("retry_history", ()) for other in others)


def enqueued(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial was queued with; none where the sampler chooses them.

    ``Study.enqueue_trial`` keeps them under this key, and Optuna has no accessor for it.
    """
    return dict(trial.system_attrs.get("fixed_params", {}))


def repeated(trial: FrozenTrial) -> int | None:
    """The number of the lost trial that this one repeats, the first of them; None where it repeats none.

    The key of ``RetryHeartbeatStaleTrialCallback.retried_trial_number``, which warns of being experimental at each
    call.
    """
    number: int | None = trial.system_attrs.get("failed_trial")
    return number


def is_alive(process: int) -> bool:
    """Whether a process of this machine exists: signal 0 tests for it, and does nothing."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True
