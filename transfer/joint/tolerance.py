"""A strength that is found by the run itself: raised as long as the holdout loss under the teacher tolerates it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.evaluate import outputs
from ...models.outputs import in_float32
from ...models.split import Split
from ...models.tracing.modules import evaluating
from ..objectives.base import LABEL_WEIGHT, TEACHER_WEIGHT, require_divergence
from .learner import Penalty

FIRST_STRENGTH, RISE, FALL = 0.1, 2.0, 4.0  # in the second epoch, and the factors by which it rises and falls later
SHARES = tuple(0.01 * 2.0**power for power in range(8))  # of a layer's mean activity, 1% to 128%


@dataclass(frozen=True)
class Tolerance:
    """By how much the loss on held-out images may rise.

    Args:
        share: Of the loss after the first epoch, in which nothing is pressed.
        holdout: The images.

    >>> Tolerance(-0.1)
    Traceback (most recent call last):
    secateur.errors.SecateurError: tolerance=-0.1 is no share of a loss; pass 0 or more, as 0.01 for 1%
    """

    share: float = 0.01
    holdout: Split | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.share < inf:
            raise SecateurError(f"tolerance={self.share} is no share of a loss; pass 0 or more, as 0.01 for 1%")


class RisingPenalty:
    """``strength`` · ``inner``, where the strength rises after an epoch whose loss is tolerated and falls after others.

    The first epoch has none, and its loss is what others are compared with; the second has 0.1. Strength and loss are
    buffers, so that a training that resumes goes on with them.

    Args:
        inner: The penalty at a strength of 1.
        share: By how much the loss may rise.
    """

    def __init__(self, inner: Penalty, share: float) -> None:
        self.inner, self.share = inner, share
        self.module = nn.Module()
        self.module.add_module("inner", inner.module)
        for name, value in (("strength", 0.0), ("reference", inf)):
            self.module.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def __call__(self) -> Tensor:
        """The penalty on the student's last forward pass. Shape: → ()"""
        return float(self.module.get_buffer("strength")) * self.inner()

    @property
    def limit(self) -> float:
        """The highest loss that is tolerated; infinite before the first epoch has ended."""
        return (1 + self.share) * float(self.module.get_buffer("reference"))

    def on_epoch_end(self, loss: float) -> None:
        """Raise or lower the strength by the loss that the epoch ended with."""
        strength, reference = (self.module.get_buffer(name) for name in ("strength", "reference"))
        strength.fill_(next_strength(float(strength), loss <= self.limit))
        if reference == inf:
            reference.fill_(loss)


def next_strength(strength: float, tolerated: bool) -> float:
    """The strength of the next epoch.

    >>> [next_strength(0.0, True), next_strength(0.2, True), next_strength(0.2, False)]
    [0.1, 0.4, 0.05]
    """
    return strength / FALL if not tolerated else strength * RISE or FIRST_STRENGTH


def largest_tolerated(loss: Callable[[float], float], limit: float, shares: Sequence[float] = SHARES) -> float | None:
    """The largest of ascending shares whose loss is within the limit, by bisection; None where no share is.

    >>> largest_tolerated(lambda share: share**2, 0.1, (0.1, 0.2, 0.3, 0.4))
    0.3
    """
    low, high = 0, len(shares)  # the first ``low`` are tolerated
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if loss(shares[middle]) <= limit else (low, middle)
    return shares[low - 1] if low else None


@torch.no_grad()
def loss_under(teacher: nn.Module, student: nn.Module, split: Split) -> float:
    """0.1 · CE + 0.9 · T² KL(teacher || student), the mean over a split's images as they are; batch norm as it is used.

    Of another task than classification, its loss and its divergence.
    """
    task, total, count = split.task, 0.0, 0
    compare = require_divergence(task)
    with evaluating(student), evaluating(teacher):
        for (output, labels, _), (target, _, _) in zip(outputs(student, split), outputs(teacher, split), strict=True):
            output, target = in_float32(output), in_float32(target)
            losses = LABEL_WEIGHT * task.loss(output, labels) + TEACHER_WEIGHT * compare(target, output)
            total += float(losses.double().sum())
            count += len(losses)
    return total / count
