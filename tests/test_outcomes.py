"""What stages come to, as run.json keeps it."""

import json
from math import inf, isnan, nan
from pathlib import Path

import pytest

from secateur.errors import SecateurError
from secateur.models.score import Score
from secateur.rundir.outcomes import (
    EvaluationStage,
    Figures,
    InterimRecord,
    NetworkStage,
    Stages,
    TeacherRecord,
    parse,
)

FIGURES = Figures(test=Score(0.1, 0.9, 10), macs=100, parameters=10)


def test_a_record_is_read_back_as_it_was_written() -> None:
    stages = Stages(dense=NetworkStage(epochs=12), test=EvaluationStage(dense=FIGURES, pruned=FIGURES, tuned=FIGURES))
    assert parse(json.loads(json.dumps(stages.to_dict())), Stages, Path("run.json")) == stages


def test_what_is_not_there_is_not_written() -> None:
    assert TeacherRecord(macs=1, loss=0.5).to_dict() == {"macs": 1, "loss": 0.5}
    assert FIGURES.to_dict() == {"test": {"loss": 0.1, "accuracy": 0.9, "n": 10}, "macs": 100, "parameters": 10}


@pytest.mark.parametrize("loss", [nan, inf])
def test_a_loss_that_is_no_number_is_kept(loss: float) -> None:
    record = InterimRecord(source="refine", loss=loss, accuracy=0.1, n=1, macs=1, parameters=1)
    (found,) = (parse(json.loads(json.dumps(record.to_dict())), InterimRecord, Path("x")) for _ in range(1))
    assert (isnan(found.loss), found.loss == inf) == (isnan(loss), loss == inf)


def test_stages_are_listed_in_the_order_in_which_they_are_done() -> None:
    stages = Stages(test=EvaluationStage(dense=FIGURES, pruned=FIGURES, tuned=FIGURES), dense=NetworkStage())
    assert list(stages.done()) == ["dense", "test"]


@pytest.mark.parametrize(
    "damaged",
    [[], "x", {"dense": 5}, {"dense": {"epochs": "many"}}, {"test": {"dense": {}}}, {"bank": {"teachers": 1}}],
)
def test_a_damaged_record_is_refused_in_a_line_that_names_the_file(damaged: object) -> None:
    with pytest.raises(SecateurError, match=r"run\.json is damaged .*restore it") as caught:
        parse(damaged, Stages, Path("run.json"))
    assert "\n" not in str(caught.value)


def test_a_field_of_a_later_version_is_no_obstacle() -> None:
    assert parse({"dense": {"epochs": 1, "later": 2}}, Stages, Path("x")).dense == NetworkStage(epochs=1)
