"""The methods that learn widths while they distil, each with its options, and how each makes its learner."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, TypeAlias

from torch import nn

from ...errors import SecateurError
from ...models.split import Split
from ...models.supernet import Supernet
from ..training.recipe import Recipe
from .blockwise import STRENGTH as BLOCKWISE_STRENGTH
from .blockwise import blocks_in_turn_learner, blockwise_learner
from .kddp import STRENGTH as KDDP_STRENGTH
from .kddp import kddp_learner
from .learner import Learner, step_sizes
from .pdd import pdd_learner


@dataclass(frozen=True)
class _JointMethod:
    """The options of a method: its fields."""

    name: ClassVar[str]

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

    >>> Pdd("50%").identity
    {'method': 'pdd', 'flops': '50%', 'params': None}
    """

    flops: str | None = None
    params: str | None = None

    name: ClassVar[str] = "pdd"

    def learner(self, net: Supernet, teacher: nn.Module | None, split: Split, recipe: Recipe) -> Learner:
        """An untrained learner for a first half by ``recipe``; without a teacher, the dense network is the teacher."""
        budget = net.budget(self.flops, params=self.params) if self.flops or self.params else None
        return pdd_learner(net, teacher or net.model, budget=budget, seed=recipe.seed, task=split.task)


@dataclass(frozen=True)
class Kddp(_JointMethod):
    """Distillation with dynamic neuron pruning.

    Args:
        strength: Pruning strength; None: the usual one.
        neurons: ``hidden`` or ``all``.
    """

    strength: float | None = None
    neurons: str = "hidden"

    name: ClassVar[str] = "kddp"

    def learner(self, net: Supernet, teacher: nn.Module | None, split: Split, recipe: Recipe) -> Learner:
        """An untrained learner for a first half by ``recipe``; without a teacher, the dense network is the teacher."""
        return kddp_learner(
            net,
            teacher or net.model,
            reach=float(step_sizes(recipe, split).sum()),
            strength=KDDP_STRENGTH if self.strength is None else self.strength,
            neurons=self.neurons,
        )


@dataclass(frozen=True)
class Blockwise(_JointMethod):
    """Block-wise structure learning by batch-norm scales.

    Args:
        strength: Pruning strength; None: the usual one.
        strengths: Factors of the strength by the names of channel groups, with wildcards.
        constraint: ``flops`` or ``params``.
        blocks: ``together``, or ``in-turn``: block after block, under the dense network only.
    """

    strength: float | None = None
    strengths: Mapping[str, float] | None = None
    constraint: str = "flops"
    blocks: str = "together"

    name: ClassVar[str] = "blockwise"

    def learner(self, net: Supernet, teacher: nn.Module | None, split: Split, recipe: Recipe) -> Learner:
        """An untrained learner for a first half by ``recipe``; without a teacher, the dense network is the teacher."""
        sizes, strength = step_sizes(recipe, split), BLOCKWISE_STRENGTH if self.strength is None else self.strength
        if self.blocks == "together":
            return blockwise_learner(
                net,
                teacher or net.model,
                reach=float(sizes.sum()),
                strength=strength,
                blocks=self.strengths,
                constraint=self.constraint,
            )
        if self.blocks != "in-turn":
            raise SecateurError(f"blocks {self.blocks!r} are neither together nor in-turn; pass one of these")
        if teacher is not None:
            raise SecateurError("blocks in turn compare features with those of the dense network; leave --teacher out")
        return blocks_in_turn_learner(
            net, step_sizes=sizes, strength=strength, blocks=self.strengths, constraint=self.constraint
        )


JointMethod: TypeAlias = Pdd | Kddp | Blockwise
