"""Lost trials: how they are noticed, and how they are queued again.

The states of a trial are Optuna's. Only complete trials count, so no lost one is missed:

    ask, enqueue ──▶ WAITING ──ask──▶ RUNNING ──tell──▶ COMPLETE
                        ▲                │
                        │                ├─ its evaluation raised, or Ctrl-C        requeue
                        │                ├─ its process on this machine is gone     release_lost
                        │                ├─ its heartbeat is a minute old           fail_stale
                        │                └─ it is one more than was asked for       (not queued again)
                        │                │
                        └─── requeue ◀── FAIL

A trial that is queued again is a new one, with the widths of the first and a note of which it repeats.
"""

import os
import socket
import time
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from .quiet import quiet

HEARTBEAT, GRACE = 15, 60  # seconds between two heartbeats; a trial without one for so long is lost
WAIT = 0.5  # seconds between two looks at the trials of other processes
HOST = socket.gethostname()
WORKER = "worker"  # the attribute of a trial that names the process that runs it: HOST:PROCESS


def heartbeat() -> dict[str, Any]:
    """The options of an Optuna storage that make it notice lost trials and queue them again."""
    return {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE, "heartbeat_stale_trial_callback": requeue}


def sign(trial: optuna.Trial) -> None:
    """Note in a trial that this process runs it."""
    trial.set_user_attr(WORKER, f"{HOST}:{os.getpid()}")


def release_lost(study: optuna.Study) -> None:
    """Fail and requeue the running trials of processes of this machine that have ended: no need to wait a minute."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = trial.user_attrs.get(WORKER, "").rpartition(":")
        if host == HOST and not is_alive(int(process)):
            with suppress(ValueError, UpdateFinishedTrialError):  # another process was faster
                study.tell(trial.number, state=TrialState.FAIL)
                requeue(study, trial)


def fail_stale(study: optuna.Study) -> None:
    """Wait a moment for the trials of other processes, then fail and requeue those without a heartbeat."""
    time.sleep(WAIT)
    with quiet():
        fail_stale_trials(study)


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a lost trial again. One whose widths had not all been chosen yet has lost nothing, and is not."""
    all_widths = study.sampler.infer_relative_search_space(study, trial)
    if enqueued(trial) or len(trial.params) == len(all_widths):
        with quiet():
            RetryHeartbeatStaleTrialCallback()(study, trial)


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
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
