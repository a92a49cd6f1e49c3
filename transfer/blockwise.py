"""Block-wise structure learning: batch-norm scales are made sparse, each block as strongly as one likes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..models.cost import Bilinear
from ..models.errors import SecateurError
from ..models.slim import slim
from ..models.supernet import Supernet
from .learner import Learner, Penalised
from .listening import Listening
from .objectives import Distillation, Objective, hinton, online
from .sparsity import Scales, Sparsity, strengths_of

STRENGTH = 2.0


def blockwise(
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
    gradient grows as they do, until one step would throw them far beyond where they began.

    ``constraint``: ``flops`` or ``params``, what a channel's price is made of. ``blocks`` maps names of channel groups,
    with wildcards, to what their strength is multiplied by. ``strength`` 1 would bring a scale of 1 to 0 within
    the first half at the average price, where nothing holds it; ``reach`` says how far a gradient of 1 comes.
    """
    student = slim(net, net.dense)
    scales = _scales(net, student)
    price = Sparsity(scales, _form(net, constraint), strengths_of(net, strength / reach, blocks or {}))
    objective = Penalised(Distillation(online(teacher), hinton, 0.1), price)
    return _learner(net, teacher, student, student, objective, scales, f"batch-norm scales, {constraint}")


def block_after_block(
    net: Supernet,
    *,
    reach: float,
    steps: int,
    strength: float = STRENGTH,
    blocks: Mapping[str, float] | None = None,
    constraint: str = "flops",
) -> Learner:
    """As ``blockwise``, but only one block at a time has a price, and there the student's features are the teacher's.

    The other reading of "block-wise": the first half's ``steps`` are shared out among the blocks, from the input on; a
    block's turn adds ‖F_student − F_teacher‖² / ‖F_teacher‖² of its output. The dense network teaches, so that
    both features have one shape.
    """
    student = slim(net, net.dense)
    scales = _scales(net, student)
    turns = blocks_of([net.groups[g].name for g in scales.groups])
    pupil, teacher = (Listening(model, list(turns)) for model in (student, net.model))
    strengths = strengths_of(net, strength * len(turns) / reach, blocks or {})  # a turn is a part of the first half
    price = Sparsity(scales, _form(net, constraint), strengths)
    numbers = {group.name: g for g, group in enumerate(net.groups)}
    local = Turns(price, pupil, teacher, {b: [numbers[name] for name in names] for b, names in turns.items()}, steps)
    objective = Penalised(Distillation(online(teacher), hinton, 0.1), local)
    form = f"batch-norm scales, {constraint}, block after block"
    return _learner(net, net.model, pupil, student, objective, scales, form)


class Turns(nn.Module):
    """The price of one block after the other, and how far its features are from the teacher's. Shape: → ()"""

    done: Tensor

    def __init__(
        self, price: Sparsity, student: Listening, teacher: Listening, blocks: Mapping[str, Sequence[int]], steps: int
    ) -> None:
        super().__init__()
        self.price, self.heard, self.blocks = price, (student.heard, teacher.heard), list(blocks.items())
        self.steps = steps
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """Of the block whose turn it is."""
        name, groups = self.blocks[min(int(self.done) * len(self.blocks) // self.steps, len(self.blocks) - 1)]
        self.done += 1
        made, wanted = (heard[name][1].float() for heard in self.heard)
        local = (made - wanted).square().sum() / wanted.square().sum()
        price: Tensor = self.price(groups)
        return price + local


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
    scales: Scales,
    form: str,
) -> Learner:
    def slimmed() -> nn.Module:
        return slim(replace(net, model=student), scales.kept())

    return Learner(model, objective, Distillation(online(teacher), hinton, 0.1), scales.kept, slimmed, form)
