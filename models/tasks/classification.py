"""Classification: one class an image, one logit a class."""

from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SecateurError
from .metric import Metric
from .task import Task

TEMPERATURE = 4.0


def kl(teacher: Tensor, student: Tensor, temperature: float = TEMPERATURE, power: int = 2) -> Tensor:
    """T^power · KL(softmax(teacher/T) || softmax(student/T)) of every row.

    ``power`` 2 keeps gradients of the size of cross-entropy's (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531); EKG's published code has 1.

    Shape: teacher (..., C), student (..., C) → (...,)
    """
    log_p, log_q = F.log_softmax(teacher / temperature, -1), F.log_softmax(student / temperature, -1)
    return temperature**power * (log_p.exp() * (log_p - log_q)).sum(-1)


class Classification(Task):
    """One class a sample: cross-entropy, accuracy, and KL at temperature 4 between softened logits.

    >>> task = Classification()
    >>> logits, classes = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    >>> task.metric.tally(logits, classes).tolist()
    [True, False]
    >>> task.loss(logits, classes)
    tensor([0.1269, 1.3133])
    """

    def __init__(self) -> None:
        super().__init__(cross_entropy, Metric("accuracy", hits), kl, chance=guess_loss, negatives=classes)

    def mean_loss(self, output: Any, target: Any) -> Tensor:
        """Cross-entropy, the mean over the samples. Shape: → ()"""
        return F.cross_entropy(output, target)

    def check(self, output: Any, target: Any, samples: int) -> None:
        """Raise SecateurError unless the network returns its logits alone."""
        if not isinstance(output, Tensor):
            raise SecateurError(
                f"the network returns a {type(output).__name__}; pass one that returns its logits alone, or a task"
            )
        if output.ndim != 2:
            raise SecateurError(
                f"the network returns {tuple(output.shape[1:])} for an image, not one logit a class; "
                "pass a task for it, such as sc.Segmentation"
            )
        if int(target.max()) >= output.shape[1]:
            plural = "s" * (output.shape[1] != 1)
            raise SecateurError(
                f"the network has {output.shape[1]} output{plural}, and a sample is of class {int(target.max())}; "
                "pass a network with one output for each class"
            )


def cross_entropy(output: Any, target: Any) -> Tensor:
    """Cross-entropy, nats. Shape: (B, C), (B,) int64 → (B,)"""
    return F.cross_entropy(output, target, reduction="none")


def hits(output: Any, target: Any) -> Tensor:
    """Whether the most likely class is the target. Shape: (B, C), (B,) int64 → (B,) bool"""
    right: Tensor = output.argmax(1) == target
    return right


def guess_loss(target: Tensor) -> float:
    """The cross-entropy of a guess among C classes, log C, nats. Shape: target (N,) int64"""
    return log(int(target.max()) + 1)


def classes(target: Tensor) -> Tensor:
    """The targets are the classes."""
    return target.to(torch.int64)
