"""Given subnetworks, evaluated by however many processes work on the search."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import optuna
from optuna.trial import TrialState

from ...models.subnetwork import Subnetwork
from ..records import Interim, Records
from .database import open_study
from .retries import enqueued
from .study import run_trials

NUMBER = "number"  # the one parameter: the subnetwork's place in the sequence


def evaluate_jointly(
    records: Records, given: Sequence[tuple[Subnetwork, str]], name: str, *, images: int, storage: str | None
) -> Iterator[Interim]:
    """Evaluate each of the subnetworks, with its source, in one process; yields those of this process.

    They wait in a study of their own: most lie beside the budget, and would mislead a sampler there.
    """

    def judge(trial: optuna.Trial) -> tuple[Interim, list[float]]:
        subnetwork, source = given[trial.suggest_int(NUMBER, 0, len(given) - 1)]
        interim = records.evaluate(subnetwork, source, images)
        return interim, [interim.macs, interim.sort_loss]

    with _opened(records, name, storage) as study:
        queued = {enqueued(trial)[NUMBER] for trial in study.get_trials(deepcopy=False)}
        for number in sorted({*range(len(given))} - queued):
            study.enqueue_trial({NUMBER: number}, {"source": given[number][1]})
        total = sum(trial.state is not TrialState.FAIL for trial in study.get_trials(deepcopy=False))
        yield from run_trials(study, records, total, judge)


def evaluations_done(records: Records, name: str, storage: str | None) -> int:
    """How many of the subnetworks under this name are evaluated, by whichever process."""
    with _opened(records, name, storage) as study:
        return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _opened(records: Records, name: str, storage: str | None) -> AbstractContextManager[optuna.Study]:
    return open_study(storage, f"{name}, {records.fingerprint}", ["macs", "loss"])
