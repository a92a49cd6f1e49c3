"""Given subnetworks, evaluated by however many processes work on the search."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import optuna
from optuna.trial import TrialState

from ...models.subnetwork import Subnetwork
from ..records import Interim, Records
from .database import exclusive, open_study, persistently
from .retries import enqueued
from .study import of_this_network, run_trials

AGREED = "agreed"  # the study's attribute that holds what its processes agree on
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

    def work() -> Iterator[Interim]:
        with _opened(records, name, storage) as study:
            with exclusive(storage):  # or two processes that begin at once would queue them twice
                total = _queue(study, given)
            yield from run_trials(study, records, total, judge)

    return persistently(storage, work)


def agreed(mine: Interim, records: Records, name: str, storage: str | None) -> Interim:
    """What the first process passed under this name, so that all that share a search end with the same."""

    def work() -> Iterator[Interim]:
        with _opened(records, name, storage) as study, exclusive(storage):
            if AGREED not in study.user_attrs:
                study.set_user_attr(AGREED, mine.to_json())
            yield of_this_network(study.user_attrs[AGREED], records.net)

    return next(persistently(storage, work))


def evaluations_done(records: Records, name: str, storage: str | None) -> int:
    """How many of the subnetworks under this name are evaluated, by whichever process."""

    def work() -> Iterator[int]:
        with _opened(records, name, storage) as study:
            yield len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    return next(persistently(storage, work))


def _queue(study: optuna.Study, given: Sequence[tuple[Subnetwork, str]]) -> int:
    """Queue what is not queued yet. Returns how many trials there will be."""
    queued = {enqueued(trial).get(NUMBER) for trial in study.get_trials(deepcopy=False)}  # None: one too many was begun
    for number in sorted({*range(len(given))} - queued):
        study.enqueue_trial({NUMBER: number}, {"source": given[number][1]})
    return sum(trial.state is not TrialState.FAIL for trial in study.get_trials(deepcopy=False))


def _opened(records: Records, name: str, storage: str | None) -> AbstractContextManager[optuna.Study]:
    return open_study(storage, f"{name}, {records.fingerprint}", ["macs", "loss"])
