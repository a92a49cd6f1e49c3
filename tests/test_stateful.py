"""Metrics of torchmetrics judge as they do alone, and those that are built in are the same as theirs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchmetrics import classification, regression

import secateur as sc
from secateur.models.tasks.metric import Metric
from secateur.models.tasks.stateful import summed

SIZES = [5, 3, 8]  # of batches


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def classes(*shape: int, below: int) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(sum(shape)))


def value(metric: Metric, output: Tensor, target: Tensor) -> float:
    """As an evaluation adds it up, batch by batch."""
    pairs = zip(torch.split(output, SIZES), torch.split(target, SIZES), strict=True)
    rows = torch.cat([metric.tally(*pair).double() for pair in pairs])
    assert len(rows) == len(output)
    return metric.value(rows.sum(0), len(rows))


def theirs(metric: Any, output: Tensor, target: Tensor) -> float:
    metric.reset()
    metric.update(output, target)
    return float(metric.compute())


LOGITS, LABELS = noise(16, 5), classes(16, below=4)  # the fifth class never occurs
MAPS, MASKS = noise(16, 3, 6, 4), classes(16, 6, 4, below=3)
MASKS[:, 0] = 255
MARKS = classes(16, 5, below=2)
MARKS[:, 4] = 0
CASES: list[tuple[sc.Task, Any, Tensor, Tensor]] = [
    (sc.Classification(), classification.MulticlassAccuracy(5, average="micro"), LOGITS, LABELS),
    (sc.Segmentation(3), classification.MulticlassJaccardIndex(3, ignore_index=255), MAPS, MASKS),
    (
        sc.Segmentation(5, 9),
        classification.MulticlassJaccardIndex(5, ignore_index=9),
        noise(16, 5, 4, 4),
        MASKS[:, 1:5],
    ),
    (sc.MultiLabel(), classification.MultilabelF1Score(5, average="macro"), LOGITS, MARKS),
    (sc.Regression(), regression.MeanAbsoluteError(), noise(16, 2), noise(16, 2) ** 2),
    (sc.Regression(), regression.MeanAbsoluteError(), noise(16, 1, 6, 6), noise(16, 1, 6, 6).abs()),
]


@pytest.mark.parametrize(("task", "peer", "output", "target"), CASES, ids=[f"{n}" for n in range(len(CASES))])
def test_the_metrics_of_ready_tasks_are_those_of_torchmetrics(
    task: sc.Task, peer: Any, output: Tensor, target: Tensor
) -> None:
    assert value(task.metric, output, target) == pytest.approx(theirs(peer, output, target), abs=1e-6)


METRICS = [
    (lambda: classification.MulticlassAccuracy(5, average="macro"), LOGITS, LABELS),
    (lambda: classification.MulticlassAUROC(5, thresholds=50), LOGITS, LABELS),
    (lambda: classification.MulticlassJaccardIndex(3, ignore_index=255), MAPS, MASKS),
    (lambda: classification.MultilabelF1Score(5, average="macro"), LOGITS, MARKS),
    (lambda: regression.MeanSquaredError(), noise(16, 2), noise(16, 2) ** 2),
    (lambda: regression.R2Score(), noise(16), noise(16) + 0.1),
]


@pytest.mark.parametrize(("make", "output", "target"), METRICS, ids=[str(n) for n in range(len(METRICS))])
def test_a_metric_in_batches_is_what_it_is_at_once(make: Any, output: Tensor, target: Tensor) -> None:
    metric = summed(make())
    assert metric.name == type(make()).__name__
    assert metric.higher_is_better == (make().higher_is_better is not False)
    assert value(metric, output, target) == pytest.approx(theirs(make(), output, target), abs=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: classification.MulticlassAUROC(5, thresholds=None),
        lambda: torchmetrics.CatMetric(),
        lambda: torchmetrics.MinMetric(),
    ],
)
def test_a_metric_that_keeps_all_outputs_is_refused_with_a_way_out(make: Any) -> None:
    with pytest.raises(sc.SecateurError, match=r"which do not add up; pass one whose states are sums"):
        sc.Task(loss=lambda output, target: output.mean(1), metric=make())


def test_a_metric_of_several_numbers_is_refused() -> None:
    metric = summed(classification.MulticlassAccuracy(5, average="none"))
    with pytest.raises(sc.SecateurError, match=r"computes more than one number; pass average='macro'"):
        value(metric, LOGITS, LABELS)


def test_a_task_is_judged_by_it() -> None:
    part = TensorDataset(noise(16, 1, 4, 4), classes(16, below=3))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target, reduction="none")

    data = sc.Data.of(part, part, part, task=sc.Task(loss, classification.MulticlassF1Score(3)))
    model = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten())
    score = sc.evaluate(model, data.test)
    assert score.name == "MulticlassF1Score"
    expected = theirs(classification.MulticlassF1Score(3), model(part.tensors[0]).detach(), part.tensors[1])
    assert score.value == pytest.approx(expected, abs=1e-6)
