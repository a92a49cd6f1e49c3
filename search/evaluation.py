"""What a search minimises: the score of a subnetwork, as one number or as one number an image."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import nan
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..models.evaluate import image_losses
from ..models.split import Split
from ..models.tasks.metric import mean
from ..models.tracing.atoms import FloatArray
from .early_stopping import LOOK, significantly_worse

BatchScore: TypeAlias = Tensor | tuple[Tensor, Tensor]  # losses (B,), with or without the tally of a metric (B, ...)
Value: TypeAlias = Callable[[Tensor, int], float]
Evaluation: TypeAlias = Callable[[nn.Module, Split, int], float | Iterable[BatchScore]]
"""Network, holdout and number of images → what to minimise.

The network is in evaluation mode, with batch statistics and without gradients. A function that returns one number is
called once a subnetwork. One that yields the losses of each batch, or pairs (losses, tally of the task's metric), of
classification which answers are right, may be stopped early: its images must come in the split's fixed order.
"""


@dataclass(frozen=True)
class HoldoutScore:
    """The mean loss over ``n`` images, the metric (NaN where it is not known), and the loss of each image.

    ``losses``: float16, as bytes; empty where the evaluation returns one number alone.
    """

    loss: float
    metric: float
    n: int
    losses: bytes = field(default=b"", repr=False)


def task_loss(model: nn.Module, split: Split, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The default evaluation: the task's loss and tally, of classification cross-entropy (nats) and hits.

    Yields (B,), (B, ...), at most ``LOOK`` images at a time.
    """
    return image_losses(model, split, images, LOOK)


def score(evaluated: float | Iterable[BatchScore], images: int, rival: FloatArray, value: Value = mean) -> HoldoutScore:
    """The score of one subnetwork; it ends as soon as its losses are significantly worse than a rival's.

    ``value``: the metric of the sum of all tallies and the number of images.

    Tested every ``LOOK`` images, however they are batched. Shape: rival (N,), empty where there is none
    """
    if isinstance(evaluated, Tensor) or not isinstance(evaluated, Iterable):  # a tensor of one number
        return HoldoutScore(float(evaluated), nan, images)
    losses, total, looked = torch.empty(0), torch.zeros(()), 0
    for batch in evaluated:
        some, tally = batch if isinstance(batch, tuple) else (batch, torch.full((len(batch),), nan))
        losses, total = torch.cat([losses, some.float().cpu()]), total + tally.double().sum(0).cpu()
        if len(rival) and len(losses) - looked >= LOOK:
            looked = len(losses)
            if significantly_worse(losses.double().numpy(), rival):
                break
    kept = losses.half().numpy().tobytes()
    return HoldoutScore(float(losses.double().mean()), value(total, len(losses)), len(losses), kept)


def name_of(function: object) -> str:
    """The name of a callable, the same in every process: what is kept under it is found again."""
    return str(getattr(function, "__name__", type(function).__name__))
