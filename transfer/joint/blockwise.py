"""Block-wise structure learning: batch-norm scales are made sparse, with a strength for each block."""

from collections.abc import Mapping

import numpy as np
from torch import nn

from ...errors import SecateurError
from ...models.costs.budget import Budget
from ...models.costs.cost import Bilinear
from ...models.supernet import Supernet
from ...models.surgery.slim import slim
from ...models.tracing.atoms import FloatArray
from ..objectives.base import LABEL_WEIGHT, TEACHER_WEIGHT, Distillation, online_teacher
from ..training.trainer import Hooks
from .block_schedule import BlockSchedule, blocks_of
from .bn_sparsity import BnSparsity, Scales, strengths_of
from .feature_hooks import FeatureHooks
from .learner import Learner, Penalised
from .sparse_student import SparseStudent

STRENGTH = 2.0
CONSTRAINTS = ("flops", "params")


def blockwise_learner(
    net: Supernet,
    teacher: nn.Module,
    *,
    reach: float,
    strength: float = STRENGTH,
    blocks: Mapping[str, float] | None = None,
    constraint: str = "flops",
) -> Learner:
    """Distil ``net`` with a penalty on channels' batch-norm scales; prune those that fall to 0; distil what is left.

    L = 0.1 · CE + 0.9 · T² KL(teacher || student) + Σ_b λ_b Σ_{g in b} cost_g Σ_c scale_gc. Ahmed et al. 2020,
    https://arxiv.org/abs/2104.09191, of which we could read the abstract only: distillation, block-wise optimisation,
    a constraint on FLOPs or parameters.

    Interpretation. The regulariser is MorphNet's, whose words the abstract uses (``BnSparsity``). Block-wise: each
    block has its own strength, as the abstract promises control; ``blocks_in_turn_learner`` is the other reading.
    Weights are kept, not initialised again, and distillation continues as in the first half, without the penalty. The
    recipe's clipping matters here: where a batch norm follows, the loss does not keep a layer's scales from falling
    together, and its gradient grows as they do, until one step would throw them far beyond where they began. The
    penalty is not clipped.

    Args:
        net: The dense network with its structure; the student starts as it.
        teacher: The network to distil from.
        reach: The sum of the first half's ``step_sizes``: how far a constant gradient of 1 moves a parameter.
        strength: 1 would bring a scale of 1 to 0 within the first half at the average cost, if nothing else held it.
        blocks: Factors of the strength, by the names of channel groups, with wildcards.
        constraint: ``flops`` or ``params``: the cost that weights a channel's penalty.
    """
    student = slim(net, net.dense)
    scales = _scales(net, student)
    penalty = BnSparsity(scales, _cost_form(net, constraint), strengths_of(net, strength / reach, blocks or {}))
    objective = Distillation(online_teacher(teacher), None, LABEL_WEIGHT, TEACHER_WEIGHT)
    return Learner(
        model=student,
        objective=objective,
        second_objective=objective,
        subnetwork=scales.subnetwork,
        slimmed=scales.slimmed,
        description=f"batch-norm scales, {constraint}",
        hooks=Hooks(weight_penalty=penalty),
    )


def budgeted_blockwise_learner(
    net: Supernet,
    teacher: nn.Module,
    *,
    budget: Budget,
    step_sizes: FloatArray,
    blocks: Mapping[str, float] | None = None,
) -> Learner:
    """As ``blockwise_learner``, under a budget: strengths rise until the channels that are alive meet it.

    The abstract's "specific resource constraints", FLOPs or parameters; ``SparseStudent`` has the equation.

    Args:
        net: The dense network with its structure; the student starts as it.
        teacher: The network to distil from.
        budget: MACs, parameters, or both.
        step_sizes: The displacement in each step of the first half under a gradient of 1. Shape: (steps,)
        blocks: Factors of the strength, by the names of channel groups, with wildcards.
    """
    factors = strengths_of(net, 1.0, blocks or {})
    student = SparseStudent(net, budget, factors, step_sizes)
    _require_scales(student.scales)
    objective = Distillation(online_teacher(teacher), None, LABEL_WEIGHT, TEACHER_WEIGHT)
    return Learner(
        model=student,
        objective=objective,
        second_objective=objective,
        subnetwork=student.subnetwork,
        slimmed=student.slimmed,
        description=f"batch-norm scales within {budget}",
        hooks=Hooks(on_step_end=student.on_step_end),
    )


def blocks_in_turn_learner(
    net: Supernet,
    *,
    step_sizes: FloatArray,
    strength: float = STRENGTH,
    blocks: Mapping[str, float] | None = None,
    constraint: str = "flops",
) -> Learner:
    """As ``blockwise_learner``, but block after block, from the input on, and each learns its teacher's features.

    The other reading of "block-wise". In its turn a block adds ‖F_student − F_teacher‖² / ‖F_teacher‖² of its output,
    and its scales get their penalty. They keep it afterwards, since scales that have fallen would rise again; a block
    that begins late has a higher one, to reach as far. All turns are equally long by ``step_sizes``, the displacement
    in each step of the first half under a gradient of 1. The dense network is the teacher, so that both features have
    one shape.
    """
    student = slim(net, net.dense)
    scales = _scales(net, student)
    numbers = {group.name: g for g, group in enumerate(net.groups)}
    names = blocks_of([net.groups[g].name for g in scales.groups])
    turns = {block: [numbers[name] for name in members] for block, members in names.items()}
    starts = equal_turns(step_sizes, len(turns))
    strengths = strengths_of(net, strength, blocks or {})
    for groups, start in zip(turns.values(), starts, strict=True):
        strengths[groups] /= step_sizes[start:].sum()
    sparsity = BnSparsity(scales, _cost_form(net, constraint), strengths)
    features, teacher = (FeatureHooks(model, list(turns)) for model in (student, net.model))
    schedule = BlockSchedule(sparsity, features, teacher, blocks=turns, starts=starts)
    distillation = Distillation(online_teacher(teacher), None, LABEL_WEIGHT, TEACHER_WEIGHT)
    return Learner(
        model=features,
        objective=Penalised(distillation, schedule),
        second_objective=Distillation(online_teacher(net.model), None, LABEL_WEIGHT, TEACHER_WEIGHT),
        subnetwork=scales.subnetwork,
        slimmed=scales.slimmed,
        description=f"batch-norm scales, {constraint}, block after block",
        hooks=Hooks(weight_penalty=schedule.weight_penalty, on_step_end=schedule.on_step_end),
    )


def equal_turns(step_sizes: FloatArray, turns: int) -> list[int]:
    """The steps at which turns begin that are equally long by the sum of their step sizes.

    >>> equal_turns(np.array([4.0, 1, 1, 1, 1, 0]), 2)  # the first step is half of the way
    [0, 1]
    """
    shares = np.arange(turns) / turns
    starts: list[int] = np.searchsorted(step_sizes.cumsum(), shares * step_sizes.sum(), side="right").tolist()
    return starts


def _scales(net: Supernet, student: nn.Module) -> Scales:
    scales = Scales(net, student)
    _require_scales(scales)
    return scales


def _require_scales(scales: Scales) -> None:
    if not scales.groups:
        raise SecateurError("block-wise learning reads batch-norm scales, and no prunable channel has one; pass pdd")


def _cost_form(net: Supernet, constraint: str) -> Bilinear:
    require_constraint(constraint)
    return net.space.costs.macs if constraint == "flops" else net.space.costs.parameters


def require_constraint(constraint: str) -> None:
    """Raise SecateurError for a constraint that does not exist.

    >>> require_constraint("params")
    """
    if constraint not in CONSTRAINTS:
        raise SecateurError(f"no constraint is called {constraint!r}; pass {' or '.join(CONSTRAINTS)}")
