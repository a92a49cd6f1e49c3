"""Regression: vectors, maps and heat maps of numbers."""

from typing import Any

from torch import Tensor

from ...errors import SecateurError
from .metric import Metric, first_of
from .task import Task


class Regression(Task):
    """Numbers of any shape: the mean squared error, and the mean absolute error (MAE).

    The network returns numbers (B, ...), and targets are as many: one a sample, a vector, a map or several.

    >>> import torch
    >>> task = Regression()
    >>> task.loss(torch.tensor([[3.0], [1.0]]), torch.tensor([1.0, 1.0]))
    tensor([4., 0.])
    >>> task.metric.name, task.metric.higher_is_better
    ('MAE', False)
    """

    def __init__(self) -> None:
        super().__init__(
            squared_error, Metric("MAE", absolute_error, higher_is_better=False), squared_error, chance=variance
        )


def squared_error(output: Any, target: Any) -> Tensor:
    """The mean squared error of each sample. Shape: (B, ...), (B, ...) → (B,)"""
    return _errors(output, target).square().mean(1)


def absolute_error(output: Any, target: Any) -> Tensor:
    """The mean absolute error of each sample. Shape: (B, ...), (B, ...) → (B,)"""
    return _errors(output, target).abs().mean(1)


def variance(target: Tensor) -> float:
    """The mean squared error of the mean target. Shape: (N, ...)"""
    return float(target.double().var(0, correction=0).mean())


def _errors(output: Any, target: Any) -> Tensor:
    """Prediction less target, a row a sample; both must have as many numbers, so that nothing is broadcast."""
    found, wanted = first_of(output), first_of(target)
    if found.numel() != wanted.numel():
        raise SecateurError(
            f"the network returns {tuple(found.shape[1:])} for a sample whose target is {tuple(wanted.shape[1:])}; "
            "pass targets of as many numbers"
        )
    return (found - wanted.to(found).reshape(found.shape)).reshape(len(found), -1)
