"""Trials that any number of processes share, on one machine or on several.

Each process runs one trial after the other until all are complete, and learns from the study what the others found.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import optuna
from optuna.distributions import IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ...digests import digest
from ...errors import SecateurError
from ...models.supernet import Supernet
from ..pareto import hypervolume
from ..records import Interim, Records
from .quiet import quiet
from .retries import Unsigned, fail_stale, release_lost, requeue, sign

DIGEST = "blake2b"  # the attribute of a trial that holds its digest; an earlier version's has none
REBUILD = "delete the run's study.db, and it is rebuilt from the records"
WHOLE = "whole"  # the prefix of the study's attributes that hold evaluations on the whole holdout

Judge: TypeAlias = Callable[[optuna.Trial], tuple[Interim, list[float]]]  # → the evaluation, its objectives


class _SurplusTrial(Exception):  # noqa: N818  (not an error)
    """Several processes began the last trial. ``Study.optimize`` fails a trial only by an exception."""


def run_trials(study: optuna.Study, records: Records, total: int, judge: Judge) -> Iterator[Interim]:
    """Trials until exactly ``total`` are complete, whoever runs them; yields what this process evaluated."""
    learned, unsigned = set[int | str](), Unsigned()
    release_lost(study, mine=True)  # of an earlier process of this number, or of before the database was away
    while True:
        with quiet():  # of what a restarted server makes Optuna say
            release_lost(study)
            count = Counter(trial.state for trial in study.get_trials(deepcopy=False))
            learn(study, records, learned)  # after the count: no trial that counts is unknown here
        if count[TrialState.COMPLETE] >= total:
            return
        if count[TrialState.WAITING] or count[TrialState.COMPLETE] + count[TrialState.RUNNING] < total:
            yield from _run_one(study, records, total, judge)
        else:
            fail_stale(study, unsigned)  # others run the last ones


def publish(study: optuna.Study, interim: Interim) -> None:
    """Share an evaluation that belongs to no trial with other processes."""
    study.set_user_attr(f"{WHOLE} {interim.subnetwork.digest}", interim.to_json())


def learn(study: optuna.Study, records: Records, learned: set[int | str]) -> None:
    """Add what other processes evaluated to ``records``, and its trial or attribute to ``learned``."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.number not in learned:
            learned.add(trial.number)
            records.add(_evaluated_in(trial, records.net))
    for name, line in study.user_attrs.items():
        if name.startswith(WHOLE) and name not in learned:
            learned.add(name)
            records.add(of_this_network(line, records.net))


def distributions(net: Supernet) -> dict[str, IntDistribution]:
    """The widths of every group, as parameters."""
    pairs = zip(net.groups, net.space.min_widths.tolist(), net.space.dense.tolist(), strict=True)
    return {group.name: IntDistribution(least, dense) for group, least, dense in pairs}


def trial_digest(params: Mapping[str, Any], values: Sequence[float]) -> str:
    """What a trial's attribute ``DIGEST`` holds: a digest of its parameters and its objectives."""
    return digest([sorted(params.items()), list(map(float, values))])


def of_this_network(line: str, net: Supernet) -> Interim:
    """The evaluation in an attribute. Raises SecateurError where it is none, or keeps channels that are not there."""
    interim = Interim.from_json(line)
    net.check(interim.subnetwork)
    return interim


def _evaluated_in(trial: FrozenTrial, net: Supernet) -> Interim:
    """The evaluation of a complete trial. Raises SecateurError where the trial is not what was written."""
    about = trial.user_attrs
    try:
        interim = of_this_network(about.get("interim", ""), net)
    except SecateurError as error:
        raise SecateurError(f"trial {trial.number} of the study is damaged: {error}; {REBUILD}") from error
    if about.get(DIGEST, expected := trial_digest(trial.params, trial.values)) != expected:
        raise SecateurError(f"trial {trial.number} of the study is damaged (it is not what was evaluated); {REBUILD}")
    return interim


def attributes(interim: Interim, records: Records) -> dict[str, object]:
    """The attributes of a trial: its evaluation, and the hypervolume of all so far beside a guess's loss."""
    score, costs = interim.score, {"macs": interim.macs, "parameters": interim.parameters}
    about: dict[str, object] = {score.name: score.value, "n": interim.n, **costs}
    if records.chance_loss is not None:
        known = (each for each in records.all if each.n == interim.n)
        about["hypervolume"] = hypervolume(known, records.net.macs(records.net.dense), records.chance_loss)
    return {**about, "interim": interim.to_json()}


def _run_one(study: optuna.Study, records: Records, total: int, judge: Judge) -> list[Interim]:
    """Run one trial, from the queue or new; the evaluation, or none where the trial was surplus or lost."""
    found: list[Interim] = []

    def objective(trial: optuna.Trial) -> list[float]:
        sign(study, trial)
        _require_room(study, trial, total)
        try:
            interim, values = judge(trial)
        except BaseException:  # Ctrl-C, too
            requeue(study, study.trials[trial.number])
            raise
        for name, value in attributes(interim, records).items():
            trial.set_user_attr(name, value)
        trial.set_user_attr(DIGEST, trial_digest(trial.params, values))
        found.append(interim)
        return values

    with quiet(), suppress(UpdateFinishedTrialError):  # it was taken for lost, and another process has it now
        study.optimize(objective, n_trials=1, catch=_SurplusTrial)
    return found


def _require_room(study: optuna.Study, trial: optuna.Trial, total: int) -> None:
    """Raise _SurplusTrial where ``total`` earlier trials are complete or running."""
    states = (TrialState.COMPLETE, TrialState.RUNNING)
    if sum(other.number < trial.number for other in study.get_trials(deepcopy=False, states=states)) >= total:
        raise _SurplusTrial
