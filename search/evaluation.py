"""What a search minimises: the score of a subnetwork, as one number or as one number an image."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import nan
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..models.evaluate import image_losses
from ..models.split import Split
from ..models.tracing.atoms import FloatArray
from .early_stopping import LOOK, significantly_worse

BatchScore: TypeAlias = Tensor | tuple[Tensor, Tensor]  # losses (B,), with or without hits (B,) bool
Evaluation: TypeAlias = Callable[[nn.Module, Split, int], float | Iterable[BatchScore]]
"""Network, holdout and number of images → what to minimise.

The network is in evaluation mode, with batch statistics and without gradients. A function that returns one number is
called once a subnetwork. One that yields the losses of each batch, or pairs (losses, hits) where it knows which
answers are right, may be stopped early: its images must come in the split's fixed order.
"""


@dataclass(frozen=True)
class HoldoutScore:
    """The mean loss over ``n`` images, the accuracy (NaN where it is not known), and the loss of each image.

    ``losses``: float16, as bytes; empty where the evaluation returns one number alone.
    """

    loss: float
    accuracy: float
    n: int
    losses: bytes = field(default=b"", repr=False)


def cross_entropy(model: nn.Module, split: Split, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The default evaluation: cross-entropy (nats) and hits. Yields (B,), (B,), ``LOOK`` images at a time."""
    return image_losses(model, split, images, LOOK)


def score(evaluated: float | Iterable[BatchScore], images: int, rival: FloatArray) -> HoldoutScore:
    """The score of one subnetwork; it ends as soon as its losses are significantly worse than a rival's.

    Tested every ``LOOK`` images, however they are batched. Shape: rival (N,), empty where there is none
    """
    if isinstance(evaluated, Tensor) or not isinstance(evaluated, Iterable):  # a tensor of one number
        return HoldoutScore(float(evaluated), nan, images)
    losses, hits, looked = torch.empty(0), torch.empty(0), 0
    for batch in evaluated:
        some, right = batch if isinstance(batch, tuple) else (batch, torch.full((len(batch),), nan))
        losses, hits = torch.cat([losses, some.float().cpu()]), torch.cat([hits, right.float().cpu()])
        if len(rival) and len(losses) - looked >= LOOK:
            looked = len(losses)
            if significantly_worse(losses.double().numpy(), rival):
                break
    kept = losses.half().numpy().tobytes()
    return HoldoutScore(float(losses.double().mean()), float(hits.double().sum()) / len(hits), len(losses), kept)


def name_of(function: object) -> str:
    """The name of a callable, the same in every process: what is kept under it is found again."""
    return str(getattr(function, "__name__", type(function).__name__))
