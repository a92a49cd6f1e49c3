"""The task's metric of each class, from the same tallies that score a split."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .tasks.task import Task


@dataclass(frozen=True)
class ClassScore:
    """The metric's value for one class, and the number of its samples; None where a sample has many classes."""

    value: float
    n: int | None = None


class ClassTally:
    """The tallies of a split, summed per class, batch by batch.

    The classes are those of the samples, where the task knows them; those inside the metric's own tally, where the
    metric has ``by_class``, as mIoU does; otherwise there are none.

    >>> from secateur.models.tasks.classification import Classification
    >>> found, labels = ClassTally(Classification()), torch.tensor([0, 2, 2])
    >>> found.add(torch.tensor([True, True, False]), labels)
    >>> found.scores
    {0: ClassScore(value=1.0, n=1), 2: ClassScore(value=0.5, n=2)}
    """

    def __init__(self, task: Task) -> None:
        self.metric, self.class_of = task.metric, task.negatives
        self.sums: dict[int, Tensor] = {}
        self.counts: Counter[int] = Counter()

    def add(self, tally: Tensor, target: Any) -> None:
        """Add a batch. Shape: tally (B, ...), a row for each sample"""
        if self.metric.by_class:
            self._add(0, len(tally), tally.double().sum(0).cpu())
        elif self.class_of:
            numbers, places = torch.unique(self.class_of(target).cpu(), return_inverse=True)
            sums = torch.zeros(len(numbers), *tally.shape[1:], dtype=torch.float64)
            sums.index_add_(0, places, tally.double().cpu())
            for number, count, row in zip(numbers.tolist(), places.bincount().tolist(), sums, strict=True):
                self._add(number, count, row)

    @property
    def scores(self) -> dict[int, ClassScore]:
        """The score of each class that occurs, by its number."""
        if self.metric.by_class and self.sums:
            values = self.metric.by_class(self.sums[0]).tolist()
            return {number: ClassScore(value) for number, value in enumerate(values) if value == value}  # not NaN
        return {c: ClassScore(self.metric.value(self.sums[c], n), n) for c, n in sorted(self.counts.items())}

    def _add(self, number: int, count: int, row: Tensor) -> None:
        self.sums[number] = self.sums[number] + row if number in self.sums else row
        self.counts[number] += count
