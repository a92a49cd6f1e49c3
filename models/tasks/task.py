"""A task: the functions by which outputs of a network are judged against targets, and compared with each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from ...errors import SecateurError, in_a_line

Loss: TypeAlias = Callable[[Any, Any], Tensor]  # of the network's output and the targets → (B,), differentiable
Tally: TypeAlias = Callable[[Any, Any], Tensor]  # of the same → (B, ...), what a metric adds up over a split
Divergence: TypeAlias = Callable[[Any, Any], Tensor]  # of a teacher's output and a student's → (B,), differentiable
Chance: TypeAlias = Callable[[Tensor], float]  # of the targets (N, ...) → the loss of one answer for all
Classes: TypeAlias = Callable[[Tensor], Tensor]  # of the targets (B, ...) → class numbers (B,) int64


def mean(total: Tensor, n: int) -> float:
    """The mean of a tally that is one number a sample. Shape: total ()"""
    return float(total) / n


@dataclass(frozen=True)
class Metric:
    """A figure of merit over a split: tallies of its samples, added up, and the value of their sum.

    ``tally`` returns a row for each sample, (B, ...); ``value`` makes the figure of the rows' sum (...) and the number
    of samples, by default their mean. Higher values are better unless ``higher_is_better`` is false.

    Args:
        name: As reports call it.
        tally: A function of the network's output and the targets.
        value: A function of the sum of the tallies and the number of samples.
        higher_is_better: The direction.

    >>> error = Metric("MAE", lambda output, target: (output - target).abs().mean(1), higher_is_better=False)
    >>> rows = error.tally(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.zeros(2, 2))
    >>> error.value(rows.sum(0), len(rows))
    2.75
    """

    name: str
    tally: Tally
    value: Callable[[Tensor, int], float] = mean
    higher_is_better: bool = True


@dataclass(frozen=True, init=False)
class Task:
    """What a network is for, as a value of plain functions.

    Each gets what the network returns, a tensor, a dictionary or a tuple of several, and the targets as the data set
    has them. ``Classification``, ``Segmentation``, ``MultiLabel`` and ``Regression`` are tasks that are ready to use.

    Args:
        loss: The loss of each sample, (output, target) → (B,), differentiable.
        metric: A figure of merit, or a function (output, target) → (B,) whose mean is one.
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

    def __init__(
        self,
        loss: Loss,
        metric: Metric | Tally,
        divergence: Divergence | None = None,
        *,
        chance: Chance | None = None,
        negatives: Classes | None = None,
    ) -> None:
        figure = metric if isinstance(metric, Metric) else Metric(_name_of(metric), metric)
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


def first_of(output: Any) -> Tensor:
    """The tensor of an output, or the first in a dictionary or sequence: torchvision's ``{"out": ..., "aux": ...}``.

    >>> first_of({"out": torch.zeros(1, 5), "aux": torch.zeros(1, 2)}).shape
    torch.Size([1, 5])
    """
    while not isinstance(output, Tensor):
        parts = list(output.values()) if isinstance(output, dict) else output
        if not isinstance(parts, (list, tuple)) or not parts:
            raise SecateurError(f"the network returns a {type(output).__name__}; pass sc.Task(loss=, metric=) for it")
        output = parts[0]
    return output


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
