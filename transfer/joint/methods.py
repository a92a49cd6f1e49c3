"""The methods that learn widths while they distil, each with its options, and how each makes its learner."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, TypeAlias

from torch import nn

from ...errors import SecateurError
from ...models.costs.budget import Budget
from ...models.split import Split
from ...models.supernet import Supernet
from ...models.tracing.atoms import FloatArray
from ..training.recipe import Recipe
from .blockwise import STRENGTH as BLOCKWISE_STRENGTH
from .blockwise import blocks_in_turn_learner, blockwise_learner, budgeted_blockwise_learner, require_constraint
from .kddp import kddp_learner
from .learner import Learner, step_sizes
from .pdd import MaskStart, pdd_learner
from .student_start import FRESH, TRAINED
from .tolerance import Tolerance

BLOCKS = ("together", "in-turn")
NARROW = 0.05  # spread of masks below which trained channels open again: 92% of ResNet-20's MACs stay at 0.01
HALF = "50%"  # the budget of block-wise learning where nothing else is passed


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a method is applied to: a network, its teacher, images, and the recipe of the epochs that find the widths.

    Args:
        net: The dense network with its structure.
        teacher: The network to distil from.
        train: The images to train on.
        recipe: Of the epochs that find the widths.
        holdout: The images by which KDDP finds its strength; None: the others need none.
    """

    net: Supernet
    teacher: nn.Module
    train: Split
    recipe: Recipe
    holdout: Split | None = None

    @property
    def step_sizes(self) -> FloatArray:
        """The displacement in each step under a gradient of 1. Shape: → (steps,)"""
        return step_sizes(self.recipe, self.train)


@dataclass(frozen=True)
class _JointMethod:
    """The options of a method: its fields."""

    name: ClassVar[str]
    learning: ClassVar[float] = 0.5  # the share of all epochs that finds the widths

    @property
    def identity(self) -> dict[str, object]:
        """The method and its options, for ``Recipe.identity``."""
        return {"method": self.name, **{each.name: getattr(self, each.name) for each in fields(self)}}


@dataclass(frozen=True)
class Pdd(_JointMethod):
    """Pruning during distillation.

    Args:
        flops: Budget of MACs (``"50%"``, ``"62M"``); None: no limit.
        params: Budget of parameters; without any budget the width is what training leaves.
        start: The weights that the student starts from, ``fresh`` or ``trained``.
        spread: Standard deviation of the masks at the start; None: the usual one.

    >>> Pdd("50%").identity
    {'method': 'pdd', 'flops': '50%', 'params': None, 'start': 'fresh', 'spread': None}
    """

    flops: str | None = None
    params: str | None = None
    start: str = FRESH
    spread: float | None = None

    name: ClassVar[str] = "pdd"
    learning: ClassVar[float] = 0.25  # 50 epochs of 200, as published

    @property
    def plan(self) -> str:
        """What the method will do, in one sentence."""
        kept = f" within {_budget_text(self.flops, self.params)}" if self.flops or self.params else ""
        closed = "half of the channels, any," if self.start == FRESH else "the less important half of the channels"
        return (
            f"{self.start} weights, with {closed} closed at first; masks are trained under the teacher for a quarter "
            f"of the epochs{kept}, then what is open is fine-tuned on labels{self._doubt}"
        )

    @property
    def _doubt(self) -> str:
        narrow = self.start == TRAINED and self.spread is not None and self.spread < NARROW
        return "; it will prune little, since masks this narrow open again on trained weights" if narrow else ""

    def learner(self, assignment: Assignment) -> Learner:
        """An untrained learner for a first part by the recipe."""
        start = MaskStart(self.start, self.spread, assignment.recipe.seed)
        budget, task = _budget(assignment.net, self.flops, self.params), assignment.train.task
        return pdd_learner(assignment.net, assignment.teacher, start=start, budget=budget, task=task)


@dataclass(frozen=True)
class Kddp(_JointMethod):
    """Distillation with dynamic neuron pruning.

    Args:
        strength: Pruning strength; None: it is found.
        neurons: ``hidden`` or ``all``.
        tolerance: By what share the loss on held-out images may rise while the strength is found.

    >>> Kddp().identity
    {'method': 'kddp', 'strength': None, 'neurons': 'all', 'tolerance': 0.01}
    """

    strength: float | None = None
    neurons: str = "all"
    tolerance: float = 0.01

    name: ClassVar[str] = "kddp"

    @property
    def plan(self) -> str:
        """What the method will do, in one sentence."""
        which = "neurons and feature maps" if self.neurons == "all" else "neurons of hidden linear layers"
        if self.strength is None:
            how = f"an L1 penalty on {which} rises while the holdout loss stays within {100 * self.tolerance:g}%"
        else:
            how = f"an L1 penalty of strength {self.strength:g} is on {which}"
        return f"for half of the epochs {how}, and what is idle is removed; then the rest is distilled"

    def learner(self, assignment: Assignment) -> Learner:
        """An untrained learner for a first part by the recipe."""
        found = Tolerance(self.tolerance, assignment.holdout)
        return kddp_learner(
            assignment.net,
            assignment.teacher,
            reach=float(assignment.step_sizes.sum()),
            strength=found if self.strength is None else self.strength,
            neurons=self.neurons,
        )


@dataclass(frozen=True)
class Blockwise(_JointMethod):
    """Block-wise structure learning by batch-norm scales.

    Args:
        strength: Pruning strength, without a budget; None: under one.
        strengths: Factors of the strength by the names of channel groups, with wildcards.
        constraint: ``flops`` or ``params``: the cost that weights a channel's penalty, and that is halved where
            neither a strength nor a budget is passed.
        blocks: ``together``, or ``in-turn``: block after block, under the dense network only, by strength.
        flops: Budget of MACs (``"50%"``, ``"62M"``).
        params: Budget of parameters.

    >>> Blockwise().limits, Blockwise(constraint="params").limits, Blockwise(strength=2.0).limits
    (('50%', None), (None, '50%'), (None, None))
    """

    strength: float | None = None
    strengths: Mapping[str, float] | None = None
    constraint: str = "flops"
    blocks: str = "together"
    flops: str | None = None
    params: str | None = None

    name: ClassVar[str] = "blockwise"

    def __post_init__(self) -> None:
        if self.blocks not in BLOCKS:
            raise SecateurError(f"blocks {self.blocks!r} are neither together nor in-turn; pass one of these")
        if (self.flops or self.params) and (self.strength is not None or self.blocks == "in-turn"):
            raise SecateurError("a budget finds the strength of all blocks together; leave out strength and in-turn")

    @property
    def limits(self) -> tuple[str | None, str | None]:
        """The budget of MACs and of parameters that strengths are raised to meet; neither, where one is passed."""
        if self.flops or self.params or self.strength is not None or self.blocks == "in-turn":
            return self.flops, self.params
        return (None, HALF) if self.constraint == "params" else (HALF, None)

    @property
    def plan(self) -> str:
        """What the method will do, in one sentence."""
        if any(self.limits):
            how = f"batch-norm scales are thresholded, harder and harder, until {_budget_text(*self.limits)} are left"
        else:
            strength = BLOCKWISE_STRENGTH if self.strength is None else self.strength
            how = f"a penalty of strength {strength:g} presses batch-norm scales by their cost in {self.constraint}"
        order = "" if self.blocks == "together" else ", block after block"
        return f"for half of the epochs {how}{order}; then the rest is distilled"

    def learner(self, assignment: Assignment) -> Learner:
        """An untrained learner for a first part by the recipe."""
        require_constraint(self.constraint)
        net, teacher, sizes = assignment.net, assignment.teacher, assignment.step_sizes
        if budget := _budget(net, *self.limits):
            return budgeted_blockwise_learner(net, teacher, budget=budget, step_sizes=sizes, blocks=self.strengths)
        strength = BLOCKWISE_STRENGTH if self.strength is None else self.strength
        if self.blocks == "in-turn":
            if teacher is not net.model:
                raise SecateurError("blocks in turn compare features with the dense network's; leave --teacher out")
            return blocks_in_turn_learner(
                net, step_sizes=sizes, strength=strength, blocks=self.strengths, constraint=self.constraint
            )
        return blockwise_learner(
            net,
            teacher,
            reach=float(sizes.sum()),
            strength=strength,
            blocks=self.strengths,
            constraint=self.constraint,
        )


JointMethod: TypeAlias = Pdd | Kddp | Blockwise


def _budget(net: Supernet, flops: str | None, params: str | None) -> Budget | None:
    return net.budget(flops, params=params) if flops or params else None


def _budget_text(flops: str | None, params: str | None) -> str:
    """``50% of the MACs and 0.1M of the parameters``."""
    named = ((flops, "MACs"), (params, "parameters"))
    return " and ".join(f"{amount} of the {cost}" for amount, cost in named if amount)
