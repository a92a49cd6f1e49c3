from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from working import IMAGES, NET, Slow

from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.search.importance.magnitude import l1
from secateur.search.refine.queue import evaluate_jointly

SCORES = l1(NET, Slow().split)
GIVEN = [(top_channels(SCORES, NET.space.dense - n), f"number {n}") for n in range(1, 5)]


def queued(records: Slow, given: list[tuple[Subnetwork, str]], storage: Path | None = None) -> list[str]:
    url = f"sqlite:///{storage}" if storage else None
    return [each.source for each in evaluate_jointly(records, given, "queue", images=IMAGES, storage=url)]


def test_each_is_evaluated_once_in_its_order() -> None:
    records = Slow()
    assert queued(records, GIVEN) == [source for _, source in GIVEN]
    assert [(i.subnetwork, i.source, i.n) for i in records.all] == [(*each, IMAGES) for each in GIVEN]


def test_the_same_widths_of_other_channels_are_another() -> None:
    weakest = top_channels([-score for score in SCORES], NET.space.dense - 1)
    records = Slow()
    queued(records, [GIVEN[0], (weakest, "weakest")])
    assert np.array_equal(GIVEN[0][0].widths, weakest.widths)
    assert len(records.all) == 2


def test_what_another_process_evaluated_is_learned_and_not_done_again(tmp_path: Path) -> None:
    queued(Slow(), GIVEN, tmp_path / "study.db")
    records = Slow()
    assert queued(records, GIVEN, tmp_path / "study.db") == []
    assert [(i.subnetwork, i.source) for i in records.all] == GIVEN


def test_one_that_was_interrupted_is_evaluated_by_the_next(tmp_path: Path) -> None:
    class Killed(Slow):
        def evaluate(self, subnetwork: Subnetwork, *rest: object) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queued(Killed(), GIVEN, tmp_path / "study.db")
    assert sorted(queued(Slow(), GIVEN, tmp_path / "study.db")) == [source for _, source in GIVEN]
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 'study.db'}")
    trials = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{tmp_path / 'study.db'}").trials
    assert [trial.state for trial in trials].count(TrialState.COMPLETE) == len(GIVEN)


def test_a_trial_that_was_one_too_many_and_was_killed_is_left_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    queued(Slow(), GIVEN, tmp_path / "study.db")
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    study.tell(study.ask(), state=TrialState.FAIL)
    assert queued(Slow(), GIVEN, tmp_path / "study.db") == []
