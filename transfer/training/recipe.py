"""The recipe of a training: optimizer, schedule, precision, and what else decides the weights it ends in."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import cos, pi
from typing import Any

import torch
from torch import nn

from ...errors import SecateurError
from ...signatures import require_fields

MOMENTUM = 0.9
BATCH = 128
LEARNING_RATES = {"sgd": 0.05, "adamw": 0.001}  # at a batch of 128; in proportion to other batches
WEIGHT_DECAYS = {"sgd": 5e-4, "adamw": 0.05}
SMALL, STEPS, LEAST_BATCH = 1000, 20, 8  # images of a small training set; steps that its epoch should have
STORED_NAMES = {  # fields under other names in checkpoints
    "checkpoint_every": "keep_every",
    "micro_batches": "parts",
    "ema_decay": "average",
    "identity": "about",
}


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum 0.9, or AdamW; linear warm-up, then cosine decay to 0.

    Args:
        epochs: Passes over the training images.
        batch: Images per step, over all processes.
        learning_rate: The peak, reached after the warm-up.
        weight_decay: Of the optimizer, on all parameters.
        warmup: Length of the warm-up in epochs.
        seed: Decides order and augmentation of images, and dropout.
        checkpoint_every: Steps between checkpoints: the most that a kill can cost.
        optimizer: ``sgd`` or ``adamw``.
        micro_batches: Parts in which each process computes its share of a batch, where memory is short.
        clip: Largest norm of a step's gradient; the loss of a network that was just pruned or refitted can start far
            too steep. None: no limit.
        ema_decay: Decay of the moving average of the weights, which is then the result; 0: no average.
        fixed_views: Number of fixed augmentations of each image that training cycles through, those of a memory
            bank; 0: each view is new.
        bfloat16: Whether the student runs in autocast.
        identity: What else decides the result, such as the method and its options. A checkpoint is resumed only under
            the same values.

    >>> Recipe(epochs=2, identity={"method": "pdd", "budget": "50%"}).stored()["about"]
    'pdd 50%'
    """

    epochs: int = 10
    batch: int = BATCH
    learning_rate: float = LEARNING_RATES["sgd"]
    weight_decay: float = WEIGHT_DECAYS["sgd"]
    warmup: float = 0.2
    seed: int = 0
    checkpoint_every: int = 50
    optimizer: str = "sgd"
    micro_batches: int = 1
    clip: float | None = 5.0
    ema_decay: float = 0.0
    fixed_views: int = 0
    bfloat16: bool = False
    identity: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        require_fields(self)
        smallest = min(self.epochs, self.checkpoint_every, self.micro_batches)
        if smallest < 1 or self.batch < 2 * self.micro_batches or not self.learning_rate > 0:
            raise SecateurError(
                f"epochs={self.epochs}, batch={self.batch}, micro_batches={self.micro_batches}, "
                f"checkpoint_every={self.checkpoint_every}, learning_rate={self.learning_rate}: pass at least 1 epoch, "
                "1 step between checkpoints, 2 images for each micro-batch and a positive learning rate"
            )
        if self.optimizer not in LEARNING_RATES or not 0 <= self.ema_decay < 1:
            raise SecateurError(
                f"optimizer={self.optimizer!r}, ema_decay={self.ema_decay}: pass sgd or adamw, and a share in [0, 1)"
            )

    @classmethod
    def fitted(
        cls,
        images: int,
        *,
        optimizer: str = "sgd",
        batch: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        **others: Any,
    ) -> "Recipe":
        """The usual recipe for a training set of this size; what is None follows from it.

        Args:
            images: In the training set.
            optimizer: ``sgd`` or ``adamw``.
            batch: By default 128; of fewer than 1,000 images, a power of two of which an epoch has 20, 8 at least.
            learning_rate: By default 0.05 for SGD and 0.001 for AdamW at a batch of 128, in proportion to the batch
                (Goyal et al. 2017, https://arxiv.org/abs/1706.02677).
            weight_decay: By default 5e-4 for SGD and 0.05 for AdamW.
            **others: Any other field.

        >>> Recipe.fitted(50_000).batch, Recipe.fitted(432).batch
        (128, 16)
        >>> Recipe.fitted(432, epochs=40).learning_rate
        0.00625
        """
        batch = fitting_batch(images) if batch is None else batch
        rate = LEARNING_RATES.get(optimizer, 1.0) * batch / BATCH if learning_rate is None else learning_rate
        decay = WEIGHT_DECAYS.get(optimizer, 0.0) if weight_decay is None else weight_decay
        how: dict[str, Any] = {"optimizer": optimizer, "batch": batch, "learning_rate": rate, "weight_decay": decay}
        return cls(**how, **others)

    @property
    def precision(self) -> str:
        """The name of the precision that the student runs in."""
        return "bfloat16" if self.bfloat16 else "float32"

    def stored(self) -> dict[str, object]:
        """The recipe as checkpoints hold it: plain values, some under older names, ``identity`` as one line."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["identity"] = " ".join(map(str, self.identity.values()))
        return {STORED_NAMES.get(name, name): value for name, value in values.items()}


def fitting_batch(images: int) -> int:
    """128; of a small training set the largest power of two that leaves 20 steps an epoch, 8 at least."""
    if images >= SMALL:
        return BATCH
    return min(BATCH, max(LEAST_BATCH, 1 << max(0, (images // STEPS).bit_length() - 1)))


def learning_rate(recipe: Recipe, step: int, steps: int, per_epoch: int) -> float:
    """The learning rate of a step: linear over the warm-up, then a half cosine that reaches 0 after the last step."""
    warm = min(recipe.warmup * per_epoch, steps / 2)
    if step < warm:
        return recipe.learning_rate * (step + 1) / (warm + 1)
    return recipe.learning_rate * 0.5 * (1 + cos(pi * (step - warm) / (steps - warm)))


def make_optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer that a recipe names, over these parameters."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, momentum=MOMENTUM, nesterov=True, weight_decay=decay)
