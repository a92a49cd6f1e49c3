"""A student that finds its own widths while it is distilled: what the published methods have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.split import Split
from ...models.subnetwork import Subnetwork, top_channels
from ...models.supernet import Supernet
from ...models.tracing.atoms import FloatArray
from ..objectives.base import Objective, StudentBatch
from ..training.recipe import MOMENTUM, Recipe, learning_rate
from ..training.trainer import NO_HOOKS, Hooks


@dataclass(frozen=True, eq=False)
class Learner:
    """The parts of a method that learns widths.

    Args:
        model: The student of the first half of the epochs.
        objective: What it is trained by in the first half.
        second_objective: What the slimmed network is trained by in the second half.
        subnetwork: Returns the channels that the student would keep now.
        slimmed: Returns the plain network of these channels alone.
        description: What decides which channels stay, for records and reports.
        hooks: What the method adds to the training loop of the first half.
    """

    model: nn.Module
    objective: Objective
    second_objective: Objective
    subnetwork: Callable[[], Subnetwork]
    slimmed: Callable[[], nn.Module]
    description: str
    hooks: Hooks = NO_HOOKS


class Penalty(Protocol):
    """A term that is added to the loss of each batch; ``module`` owns the buffers that a checkpoint must carry."""

    module: nn.Module

    def __call__(self) -> Tensor:
        """The penalty on the student's last forward pass. Shape: → ()"""


class Penalised(Objective):
    """An objective with a penalty on what the network computed for the batch: L = ``inner`` + ``penalty``."""

    def __init__(self, inner: Objective, penalty: Penalty) -> None:
        super().__init__(inner.views, nn.ModuleDict({"inner": inner.module, "penalty": penalty.module}))
        self.inner, self.penalty = inner, penalty

    def __call__(self, batch: StudentBatch) -> Tensor:
        """The sum of both; the penalty comes second, after an online teacher's forward pass."""
        loss = self.inner(batch)
        return loss + self.penalty()

    def metrics(self) -> dict[str, Any]:
        """Those of the inner objective."""
        return self.inner.metrics()


def step_sizes(recipe: Recipe, split: Split) -> FloatArray:
    """Displacement of a parameter in each step under a constant gradient of 1: learning rate / (1 - momentum).

    A penalty divided by their sum has the same effect whatever the number of steps. Raises SecateurError for another
    optimizer than SGD, whose steps do not grow with the gradient. Shape: → (steps,)
    """
    if recipe.optimizer != "sgd":
        raise SecateurError(
            f"kddp and blockwise weigh their penalty by the steps of SGD; leave optimizer={recipe.optimizer!r} out"
        )
    per_epoch = split.steps(recipe.batch)
    steps = recipe.epochs * per_epoch
    return np.array([learning_rate(recipe, step, steps, per_epoch) for step in range(steps)]) / (1 - MOMENTUM)


def channels_above(net: Supernet, scores: Sequence[FloatArray], threshold: float) -> Subnetwork:
    """The channels of each group whose score lies above a threshold; more, by score, where the least width needs it.

    Shape: scores (width of the group,) each
    """
    counts = np.array([(score > threshold).sum() for score in scores], np.float64)
    return top_channels(scores, net.space.ceil(counts, np.arange(len(counts))))


def groups_made_by_ndim(net: Supernet, dims: range) -> list[int]:
    """The groups whose channels are all made by weights of these numbers of dimensions: 2 is linear, more convolve."""
    found = []
    for g, group in enumerate(net.groups):
        makers = {len(net.shapes[member.tensor]) for member in group.members if not member.reads} - {0, 1}
        if makers and makers <= set(dims):
            found.append(g)
    return found
