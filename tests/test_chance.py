"""Whether a network is told apart from a guess."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

import secateur as sc
from secateur.models.score import Score
from secateur.pipeline.chance import chance_of


def of_classes(classes: int) -> sc.Data:
    part = TensorDataset(torch.zeros(classes, 3, 4, 4, dtype=torch.uint8), torch.arange(classes))
    return sc.Data.of(part, part, part)


FOUR = of_classes(4)


@pytest.mark.parametrize(("right", "chance"), [(12, True), (17, True), (18, False), (30, False), (0, True)])
def test_four_classes_and_48_images_need_18_right_answers(right: int, chance: bool) -> None:
    # P(17 or more of 48 at 1/4) = 7%, P(18 or more) = 4%
    assert (chance_of(Score(1.0, right / 48, 48), FOUR) is not None) == chance


@given(st.integers(1, 29), st.data())
def test_few_images_say_nothing(n: int, data: st.DataObject) -> None:
    assert chance_of(Score(1.0, data.draw(st.integers(0, n)) / n, n), FOUR) is None


@given(st.integers(30, 5000))
def test_three_of_four_right_among_four_classes_is_never_chance(n: int) -> None:
    assert chance_of(Score(1.0, round(0.75 * n) / n, n), FOUR) is None


def test_one_class_has_no_chance() -> None:
    assert chance_of(Score(0.0, 1.0, 100), of_classes(1)) is None


@pytest.mark.parametrize(("loss", "chance"), [(0.9, False), (1.1, True)])
def test_another_task_is_compared_with_one_answer_for_all(loss: float, chance: bool) -> None:
    target = torch.tensor([[-1.0], [1.0]]).repeat(20, 1)  # of variance 1
    part = TensorDataset(torch.rand(40, 1), target)
    data = sc.Data.of(part, part, part, task=sc.Regression())
    expected = data.task.chance(target) if data.task.chance else None
    assert expected == pytest.approx(1.0)
    assert (chance_of(Score(loss, None, 40, {"MAE": 1.0}), data) is not None) == chance


def test_a_task_that_knows_no_chance_is_not_judged() -> None:
    part = TensorDataset(torch.rand(40, 1), torch.rand(40, 1))
    task = sc.Task(
        loss=lambda out, target: (out - target).abs().flatten(1).mean(1), metric=lambda out, target: out[:, 0]
    )
    data = sc.Data.of(part, part, part, task=task)
    assert chance_of(Score(9.0, None, 40, {"m": 1.0}), data) is None
