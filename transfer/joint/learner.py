"""A student that finds its own widths while it is distilled: what the published methods have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...models.split import Split
from ...models.subnetwork import Subnetwork, top_channels
from ...models.supernet import Supernet
from ...models.tracing.atoms import FloatArray
from ..objectives.base import Objective, StudentBatch
from ..training.train import Recipe, learning_rate


@dataclass(frozen=True, eq=False)
class Learner:
    """What a method is made of.

    ``model`` is trained by ``objective`` for the first half of the epochs; ``between`` is called after each of them, as
    ``finetune`` says. ``kept`` are the channels that it would keep now, ``slimmed`` makes the plain network with
    these alone, which is trained by ``then`` for the rest. ``form``: what the method looks at, in words. ``price``: a
    term on the weights, as ``finetune`` says.
    """

    model: nn.Module
    objective: Objective
    second_objective: Objective
    kept: Callable[[], Subnetwork]
    slimmed: Callable[[], nn.Module]
    description: str
    on_epoch_end: Callable[[torch.optim.Optimizer], None] | None = None
    weight_penalty: Callable[[], Tensor] | None = None


class Penalised:
    """An objective, and beside it a penalty on what the network made of the batch: L = ``inner`` + ``penalty``.

    The penalty is a module, so that checkpoints carry its buffers.
    """

    def __init__(self, inner: Objective, penalty: nn.Module) -> None:
        self.views, self.inner, self.penalty = inner.views, inner, penalty
        self.module: nn.Module = nn.ModuleDict({"inner": inner.module, "penalty": penalty})

    def __call__(self, seen: StudentBatch) -> Tensor:
        """The sum of both; the penalty comes second, when a teacher has seen the batch, too."""
        loss = self.inner(seen)
        penalty: Tensor = self.penalty()
        return loss + penalty

    def gates(self) -> list[float]:
        """Those of the objective."""
        return self.inner.gates()


def step_sizes(recipe: Recipe, split: Split) -> FloatArray:
    """How far each step of a training takes a parameter under a gradient of 1: its learning rate, with momentum 0.9.

    A price divided by their sum does the same in few steps as in many. Shape: → (steps,)
    """
    per_epoch = split.steps(recipe.batch)
    steps = recipe.epochs * per_epoch
    return np.array([learning_rate(recipe, step, steps, per_epoch) for step in range(steps)]) / (1 - 0.9)


def channels_above(net: Supernet, scores: Sequence[FloatArray], threshold: float) -> Subnetwork:
    """The channels of each group whose score lies above a threshold; more, by score, where the least width asks for it.

    Shape: scores (width of the group,) each
    """
    counts = np.array([(score > threshold).sum() for score in scores], np.float64)
    return top_channels(scores, net.space.ceil(counts, np.arange(len(counts))))


def groups_made_by_ndim(net: Supernet, dims: range) -> list[int]:
    """The groups whose channels are made by weights of so many dimensions alone: 2 is linear, more convolve."""
    found = []
    for g, group in enumerate(net.groups):
        makers = {len(net.shapes[member.tensor]) for member in group.members if not member.reads} - {0, 1}
        if makers and makers <= set(dims):
            found.append(g)
    return found
