"""A task: the functions by which outputs of a network are judged against targets, and compared with each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from ...errors import SecateurError, in_a_line
from ...signatures import checked
from .metric import Metric, Tally
from .stateful import is_stateful, summed

Loss: TypeAlias = Callable[[Any, Any], Tensor]  # of the network's output and the targets → (B,), differentiable
Divergence: TypeAlias = Callable[[Any, Any], Tensor]  # of a teacher's output and a student's → (B,), differentiable
Chance: TypeAlias = Callable[[Tensor], float]  # of the targets (N, ...) → the loss of one answer for all
Classes: TypeAlias = Callable[[Tensor], Tensor]  # of the targets (B, ...) → class numbers (B,) int64


@dataclass(frozen=True, init=False)
class Task:
    """What a network is for, as a value of plain functions.

    Each gets what the network returns, a tensor, a dictionary or a tuple of several, and the targets as the data set
    has them. ``Classification``, ``Segmentation``, ``MultiLabel`` and ``Regression`` are tasks that are ready to use.

    Args:
        loss: The loss of each sample, (output, target) → (B,), differentiable.
        metric: A figure of merit; a function (output, target) → (B,) whose mean is one; or a metric of torchmetrics
            whose states are sums.
        divergence: How far a student's output is from a teacher's, (teacher, student) → (B,), differentiable. None:
            outputs are not compared; then there is no distillation, and no memory bank.
        chance: The loss of the best answer that is the same for every sample, from the targets. None: not known.
        negatives: The class of each sample, from the targets, for contrastive terms. None: those are left out.

    >>> def huber(output, target):
    ...     return torch.nn.functional.huber_loss(output["depth"], target, reduction="none").flatten(1).mean(1)
    >>> def within_10_percent(output, target):
    ...     return ((output["depth"] / target - 1).abs() < 0.1).float().flatten(1).mean(1)
    >>> task = Task(loss=huber, metric=within_10_percent)
    >>> task.metric.name
    'within_10_percent'
    >>> task.loss({"depth": torch.ones(2, 1, 4, 4)}, torch.zeros(2, 1, 4, 4))
    tensor([0.5000, 0.5000])
    """

    loss: Loss
    metric: Metric
    divergence: Divergence | None
    chance: Chance | None
    negatives: Classes | None

    classes: ClassVar[int | None] = None  # their number, where the task knows it
    ignore: ClassVar[int | None] = None  # the class number of what does not count, likewise

    @checked
    def __init__(
        self,
        loss: Loss,
        metric: Metric | Tally,
        divergence: Divergence | None = None,
        *,
        chance: Chance | None = None,
        negatives: Classes | None = None,
    ) -> None:
        plain = summed(metric) if is_stateful(metric) else metric
        figure = plain if isinstance(plain, Metric) else Metric(_name_of(plain), plain)
        values = {"loss": loss, "metric": figure, "divergence": divergence, "chance": chance, "negatives": negatives}
        for name, value in values.items():
            object.__setattr__(self, name, value)  # frozen from here on

    def mean_loss(self, output: Any, target: Any) -> Tensor:
        """The mean over the samples. Shape: → ()"""
        return self.loss(output, target).mean()

    def check(self, output: Any, target: Any, samples: int) -> None:
        """Raise SecateurError unless loss and metric have one row for each of these samples."""
        for what, function in (("loss", self.loss), (f"metric {self.metric.name}", self.metric.tally)):
            with torch.no_grad():
                rows = _tried(f"the task's {what}", function, output, target)
            if not isinstance(rows, Tensor) or rows.shape[:1] != (samples,) or (what == "loss" and rows.ndim > 1):
                shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
                raise SecateurError(
                    f"the task's {what} returned {shape} for {samples} samples; return a tensor with one row for each, "
                    'as reduction="none" and a mean over the other dimensions do'
                )


def _tried(what: str, function: Callable[[Any, Any], Tensor], output: Any, target: Any) -> Tensor:
    """What a function of the user's returns; in one line what it raises."""
    try:
        return function(output, target)
    except SecateurError:
        raise
    except Exception as error:
        raise SecateurError(
            f"{what} failed on the network's output of {_shapes(output)} and targets of {_shapes(target)} "
            f"({in_a_line(error)}); pass a task that fits both"
        ) from error


def _shapes(tree: Any) -> str:
    if isinstance(tree, Tensor):
        return str(tuple(tree.shape))
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return f"{type(tree).__name__}({', '.join(map(_shapes, parts))})"


def _name_of(function: object) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
