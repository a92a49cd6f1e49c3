"""Regression: vectors, maps, and targets of another shape."""

from __future__ import annotations

import pytest
import torch

from secateur.errors import SecateurError
from secateur.models.tasks.regression import Regression

TASK = Regression()


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 4, 4)])
def test_loss_and_metric_are_the_mean_errors_of_a_sample(shape: tuple[int, ...]) -> None:
    output, target = torch.randn(shape), torch.randn(shape)
    apart = (output - target).reshape(5, -1)
    torch.testing.assert_close(TASK.loss(output, target), apart.square().mean(1))
    torch.testing.assert_close(TASK.metric.tally(output, target), apart.abs().mean(1))


def test_one_number_a_sample_is_not_broadcast_against_a_column() -> None:
    output, target = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert TASK.loss(output, target).tolist() == [0.0, 0.0]
    assert TASK.loss(output[:, 0], target[:, None]).tolist() == [0.0, 0.0]


def test_targets_of_other_numbers_are_refused() -> None:
    with pytest.raises(SecateurError, match=r"returns \(3,\) for a sample whose target is \(2,\)"):
        TASK.check(torch.zeros(4, 3), torch.zeros(4, 2), 4)


def test_chance_is_the_variance_of_the_targets() -> None:
    target = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert TASK.chance is not None
    assert TASK.chance(target) == float(TASK.loss(target.mean(0).expand(2, 2), target).mean())


def test_the_divergence_is_the_squared_error_of_teacher_and_student() -> None:
    assert TASK.divergence is not None
    assert TASK.divergence({"y": torch.ones(2, 3)}, torch.zeros(2, 3)).tolist() == [1.0, 1.0]
