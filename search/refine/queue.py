"""Given subnetworks, evaluated by however many processes work on the search."""

from collections.abc import Iterator, Sequence

import optuna
from optuna.trial import TrialState

from ...models.subnetwork import Subnetwork
from ..records import Interim, Records
from .study import StudyOptions, opened, run_trials

NUMBER = "number"  # the one parameter: which of them it is


def evaluate_jointly(
    records: Records, given: Sequence[tuple[Subnetwork, str]], name: str, options: StudyOptions
) -> Iterator[Interim]:
    """Evaluate each of the subnetworks, with the source it has, in one process; yields those of this one.

    They wait in a study of their own: most lie beside the budget, and would mislead a sampler there.
    """

    def judge(trial: optuna.Trial) -> tuple[Interim, list[float]]:
        subnetwork, source = given[trial.suggest_int(NUMBER, 0, len(given) - 1)]
        interim = records.evaluate(subnetwork, source, options.images)
        return interim, [interim.macs, interim.sort_loss]

    with opened(options.storage, f"{name}, {records.fingerprint}", ["macs", "loss"]) as study:
        queued = {trial.system_attrs["fixed_params"][NUMBER] for trial in study.get_trials(deepcopy=False)}
        for number in sorted({*range(len(given))} - queued):
            study.enqueue_trial({NUMBER: number}, {"source": given[number][1]})
        total = sum(trial.state is not TrialState.FAIL for trial in study.get_trials(deepcopy=False))
        yield from run_trials(study, records, total, judge)
