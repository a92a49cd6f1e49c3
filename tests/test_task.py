"""Tasks of one's own: plain functions, checked on what the network returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from secateur.errors import SecateurError
from secateur.models.tasks.metric import Metric, first_of, mean
from secateur.models.tasks.task import Task


def l1(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs().mean(1)


def test_a_metric_is_the_mean_of_its_tally_unless_told_otherwise() -> None:
    task = Task(loss=l1, metric=l1)  # a function is a metric, too
    rows = task.metric.tally(torch.ones(4, 2), torch.zeros(4, 2))
    assert (task.metric.name, task.metric.value(rows.sum(0), 4)) == ("l1", 1.0)
    assert mean(torch.tensor(3.0), 4) == 0.75


def test_the_mean_loss_is_the_mean_over_samples() -> None:
    output = torch.randn(5, 3)
    torch.testing.assert_close(Task(l1, Metric("MAE", l1)).mean_loss(output, torch.zeros(5, 3)), output.abs().mean())


@pytest.mark.parametrize("output", [torch.zeros(2, 3), {"a": torch.zeros(2, 3)}, [torch.zeros(2, 3), 1]])
def test_the_first_tensor_of_an_output_is_found(output: Any) -> None:
    assert first_of(output).shape == (2, 3)


@pytest.mark.parametrize("output", [None, "logits", {}, 3])
def test_an_output_without_a_tensor_is_refused(output: Any) -> None:
    with pytest.raises(SecateurError, match=r"the network returns a \w+; pass sc.Task"):
        first_of(output)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (lambda output, target: l1(output, target).mean(), r"loss returned \(\) for 4 samples; .* reduction"),
        (lambda output, target: (output - target).abs(), r"loss returned \(4, 2\) for 4 samples"),
        (lambda output, target: 3.0, "loss returned float for 4 samples"),
        (lambda output, target: output["depth"], r"loss failed on the network's output of \(4, 2\) .*IndexError"),
    ],
)
def test_a_loss_that_is_not_one_number_a_sample_is_refused(loss: Any, reason: str) -> None:
    with pytest.raises(SecateurError, match=reason) as caught:
        Task(loss, Metric("MAE", l1)).check(torch.ones(4, 2), torch.zeros(4, 2), 4)
    assert "\n" not in str(caught.value)


def test_a_metric_that_fails_is_named() -> None:
    task = Task(l1, Metric("mAP", lambda output, target: target["boxes"]))
    with pytest.raises(SecateurError, match=r"the task's metric mAP failed .*targets of \(4, 2\)"):
        task.check(torch.ones(4, 2), torch.zeros(4, 2), 4)
