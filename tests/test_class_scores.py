"""The metric of each class, from the pass that scores a split."""

import pytest
import torch
from torch import Tensor, nn

from secateur.data.images import Images
from secateur.models.class_scores import ClassScore, ClassTally
from secateur.models.evaluate import evaluate, evaluate_by_class
from secateur.models.tasks.classification import Classification
from secateur.models.tasks.metric import Metric
from secateur.models.tasks.multi_label import MultiLabel
from secateur.models.tasks.regression import Regression
from secateur.models.tasks.segmentation import Segmentation
from secateur.models.tasks.task import Task

LABELS = torch.arange(30) % 3
PIXELS = torch.zeros(30, 3, 4, 4, dtype=torch.uint8)


def images() -> Images:
    """Thirty images of three classes, all black but for the class's own brightness."""
    bright = PIXELS + (LABELS * 100).to(torch.uint8)[:, None, None, None]
    return Images(lambda chunks: (bright[chunk] for chunk in chunks), LABELS, (3, 4, 4))


class Bright(nn.Module):
    """Class 1 for whatever is bright, 0 for the rest: right for classes 0 and 1, wrong for class 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits. Shape: (B, 3, H, W) → (B, 3)"""
        level = x.flatten(1).mean(1)
        return torch.stack([-level - 1, level + 1, torch.full_like(level, -9.0)], 1)


def test_the_mean_of_the_classes_weighted_by_their_images_is_the_score_of_the_split() -> None:
    score, classes = evaluate_by_class(Bright(), images())
    assert score == evaluate(Bright(), images())
    assert {number: each.n for number, each in classes.items()} == {0: 10, 1: 10, 2: 10}
    assert classes[2].value == 0.0
    assert sum(each.value * (each.n or 0) for each in classes.values()) / 30 == pytest.approx(score.accuracy)


def test_batches_add_up() -> None:
    whole, halves = ClassTally(Classification()), ClassTally(Classification())
    right = torch.rand(30, generator=torch.Generator().manual_seed(0)) > 0.5
    whole.add(right, LABELS)
    for part in (slice(0, 7), slice(7, 30)):
        halves.add(right[part], LABELS[part])
    assert halves.scores == whole.scores
    for number, found in whole.scores.items():
        assert found.value == right[number == LABELS].double().mean().item()


def test_a_mask_of_one_class_right_and_one_never_there_has_their_shares() -> None:
    task, masks = Segmentation(3), torch.tensor([[[0, 1], [0, 1]]])
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 0], logits[:, 1] = 1.0, torch.tensor([[0.0, 9.0], [0.0, 0.0]])
    found = ClassTally(task)
    found.add(task.metric.tally(logits, masks), masks)
    assert found.scores == {0: ClassScore(2 / 3), 1: ClassScore(1 / 2)}  # class 2 is in neither


def test_labels_have_an_f1_each() -> None:
    task, target = MultiLabel(), torch.tensor([[1, 0, 0], [1, 1, 0]])
    found = ClassTally(task)
    found.add(task.metric.tally(torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]]), target), target)
    assert found.scores == {0: ClassScore(2 / 3), 1: ClassScore(1.0)}


def test_a_task_of_ones_own_that_names_the_class_of_a_sample_has_its_metric_by_class() -> None:
    def error(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs()

    task = Task(error, Metric("error", error, higher_is_better=False), negatives=lambda target: (target > 0).long())
    found = ClassTally(task)
    found.add(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([-1.0, 1.0, 2.0]))
    assert found.scores == {0: ClassScore(1.0, 1), 1: ClassScore(3.0, 2)}


def test_a_task_without_classes_has_none() -> None:
    found = ClassTally(Regression())
    found.add(torch.ones(3), torch.ones(3))
    assert found.scores == {}
