"""Block-wise structure learning: batch-norm scales are made sparse, each block as strongly as one likes."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.costs.cost import Bilinear
from ...models.supernet import Supernet
from ...models.surgery.slim import slim
from ...models.tracing.atoms import FloatArray
from ..objectives.base import Distillation, Objective, kd_loss, online_teacher
from .bn_sparsity import BnSparsity, Scales, strengths_of
from .feature_hooks import FeatureHooks
from .learner import Learner, Penalised

STRENGTH = 2.0


def blockwise_learner(
    net: Supernet,
    teacher: nn.Module,
    *,
    reach: float,
    strength: float = STRENGTH,
    blocks: Mapping[str, float] | None = None,
    constraint: str = "flops",
) -> Learner:
    """Distil ``net`` with a price on every channel that has a batch-norm scale; what falls to 0 goes; distil on.

    L = 0.1 · CE + 0.9 · T² KL(teacher || student) + Σ_b λ_b Σ_{g in b} price_g Σ_c scale_gc. Ahmed et al. 2020,
    https://arxiv.org/abs/2104.09191, of which the abstract alone was at hand: distillation, block-wise optimisation, a
    constraint of FLOPs or parameters.

    Readings. The regulariser is MorphNet's, whose words the abstract uses (``Sparsity``). Block-wise: each block
    has a strength of its own, as the abstract promises control; ``block_after_block`` is the other reading. Weights
    are kept, not drawn anew, and distillation goes on, as in the first half, without the price. The recipe's clipping
    matters here: where a batch norm follows, the loss does not hold a layer's scales against falling together, and its
    gradient grows as they do, until one step would throw them far beyond where they began. The price is not clipped.

    ``constraint``: ``flops`` or ``params``, what a channel's price is made of. ``blocks`` maps names of channel groups,
    with wildcards, to what their strength is multiplied by. ``strength`` 1 would bring a scale of 1 to 0 within
    the first half at the average price, where nothing holds it; ``reach`` says how far a gradient of 1 comes.
    """
    student = slim(net, net.dense)
    scales = _scales(net, student)
    price = BnSparsity(scales, _form(net, constraint), strengths_of(net, strength / reach, blocks or {}))
    objective = Distillation(online_teacher(teacher), kd_loss, 0.1)
    return _learner(net, teacher, student, student, objective, price, scales, f"batch-norm scales, {constraint}")


def blocks_in_turn_learner(
    net: Supernet,
    *,
    strides: FloatArray,
    strength: float = STRENGTH,
    blocks: Mapping[str, float] | None = None,
    constraint: str = "flops",
) -> Learner:
    """As ``blockwise``, but block after block, from the input on, and each learns to make its teacher's features.

    The other reading of "block-wise". In its turn a block adds ‖F_student − F_teacher‖² / ‖F_teacher‖² of its output,
    and its scales get their price. They keep it, since what has fallen would else rise again; who begins late has a
    higher one, to come as far. All turns are equally long by ``strides``, how far each step of the first half comes
    under a gradient of 1. The dense network teaches, so that both features have one shape.
    """
    student = slim(net, net.dense)
    scales = _scales(net, student)
    numbers = {group.name: g for g, group in enumerate(net.groups)}
    names = blocks_of([net.groups[g].name for g in scales.groups])
    turns = {block: [numbers[name] for name in inside] for block, inside in names.items()}
    shares = np.arange(len(turns)) / len(turns)
    starts = np.searchsorted(strides.cumsum(), shares * strides.sum(), side="right")
    strengths = strengths_of(net, strength, blocks or {})
    for groups, start in zip(turns.values(), starts, strict=True):
        strengths[groups] /= strides[start:].sum()
    price = BnSparsity(scales, _form(net, constraint), strengths)
    pupil, teacher = (FeatureHooks(model, list(turns)) for model in (student, net.model))
    local = BlockSchedule(price, pupil, teacher, turns, starts.tolist())
    objective = Penalised(Distillation(online_teacher(teacher), kd_loss, 0.1), local)
    form = f"batch-norm scales, {constraint}, block after block"
    return _learner(net, net.model, pupil, student, objective, local.price, scales, form)


class BlockSchedule(nn.Module):
    """How far the features of the block whose turn it is are from the teacher's; and the prices of all so far.

    ``blocks``: the groups of each. ``starts``: the steps at which turns begin. Shape: → ()
    """

    done: Tensor

    def __init__(
        self,
        sparsity: BnSparsity,
        student: FeatureHooks,
        teacher: FeatureHooks,
        blocks: Mapping[str, Sequence[int]],
        starts: Sequence[int],
    ) -> None:
        super().__init__()
        self.sparsity, self.heard, self.blocks = sparsity, (student.captured, teacher.captured), list(blocks.items())
        self.starts = starts
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def active_blocks(self) -> int:
        """How many blocks have had their turn, this one's included."""
        return bisect_right(self.starts, int(self.done))

    def forward(self) -> Tensor:
        """Of every call of the block in the last forward passes."""
        name, _ = self.blocks[self.active_blocks - 1]
        made, wanted = (_features(name, heard) for heard in self.heard)
        return (made - wanted).square().sum() / wanted.square().sum()

    def price(self) -> Tensor:
        """What the scales of all blocks so far cost; asked once a step. Shape: → ()"""
        groups = [g for _, inside in self.blocks[: self.active_blocks] for g in inside]
        self.done += 1
        return self.sparsity(groups)


def _features(name: str, heard: Mapping[str, Sequence[tuple[Any, Any]]]) -> Tensor:
    """What a block made, all calls in one row. Shape: → (numbers,)"""
    made = [output for _, output in heard.get(name, ())]
    if not made or not all(isinstance(each, Tensor) for each in made):
        raise SecateurError(
            f"block {name} is not called, or gives no tensor, so it has no features; leave --blocks out"
        )
    return torch.cat([each.float().flatten() for each in made])


def blocks_of(names: Sequence[str], inside: str = "", most: float | None = None) -> dict[str, list[str]]:
    """The names of groups by the module that makes a block: children of the network.

    In place of a child that holds more than half of all groups stand its own children.
    """
    most = len(names) / 2 if most is None else most
    children: dict[str, list[str]] = {}
    for name in names:
        children.setdefault(inside + name[len(inside) :].partition(".")[0].partition("#")[0], []).append(name)
    found: dict[str, list[str]] = {}
    for child, members in children.items():
        whole = len(members) <= most or any(name.partition("#")[0] == child for name in members)
        found |= {child: members} if whole else blocks_of(members, f"{child}.", most)
    return found


def _scales(net: Supernet, student: nn.Module) -> Scales:
    scales = Scales(net, student)
    if not scales.groups:
        raise SecateurError("block-wise learning reads batch-norm scales, and no prunable channel has one; give pdd")
    return scales


def _form(net: Supernet, constraint: str) -> Bilinear:
    forms = {"flops": net.space.costs.macs, "params": net.space.costs.parameters}
    if constraint not in forms:
        raise SecateurError(f"no constraint is called {constraint!r}; give {' or '.join(forms)}")
    return forms[constraint]


def _learner(
    net: Supernet,
    teacher: nn.Module,
    model: nn.Module,
    student: nn.Module,
    objective: Objective,
    price: Callable[[], Tensor],
    scales: Scales,
    form: str,
) -> Learner:
    def slimmed() -> nn.Module:
        return slim(replace(net, model=student), scales.kept())

    then = Distillation(online_teacher(teacher), kd_loss, 0.1)
    return Learner(model, objective, then, scales.kept, slimmed, form, weight_penalty=price)
