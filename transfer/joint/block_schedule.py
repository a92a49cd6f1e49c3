"""Blocks of a network that are pruned one after the other, each learning its teacher's features in its turn."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SecateurError
from .bn_sparsity import BnSparsity
from .feature_hooks import FeatureHooks


class BlockSchedule:
    """Distance of the active block's features from the teacher's, and the sparsity penalty of all blocks so far.

    The training loop reports each step to ``on_step_end``; ``module`` carries the number of steps done, so that a
    resumed training is in the same turn.

    Args:
        sparsity: The penalty on scales, of any groups.
        student: The student, recording the output of each block.
        teacher: The teacher, likewise.
        blocks: The channel groups of each block, by the name of the module that makes its output, in order.
        starts: The step at which each block's turn begins.
    """

    def __init__(
        self,
        sparsity: BnSparsity,
        student: FeatureHooks,
        teacher: FeatureHooks,
        *,
        blocks: Mapping[str, Sequence[int]],
        starts: Sequence[int],
    ) -> None:
        self.sparsity, self.captured = sparsity, (student.captured, teacher.captured)
        self.blocks, self.starts = list(blocks.items()), starts
        self.module = nn.Module()
        self.module.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def active_blocks(self) -> int:
        """How many blocks have had their turn, with the one whose turn it is."""
        return bisect_right(self.starts, int(self.module.get_buffer("done")))

    def __call__(self) -> Tensor:
        """‖F_student − F_teacher‖² / ‖F_teacher‖² of the active block, over its calls in the last pass. Shape: → ()"""
        name, _ = self.blocks[self.active_blocks - 1]
        student, teacher = (_features(name, captured) for captured in self.captured)
        return (student - teacher).square().sum() / teacher.square().sum()

    def weight_penalty(self) -> Tensor:
        """The sparsity penalty of the active block and those before it. Shape: → ()"""
        return self.sparsity([g for _, groups in self.blocks[: self.active_blocks] for g in groups])

    def on_step_end(self, done: int) -> None:
        """Note how many steps are done."""
        self.module.get_buffer("done").fill_(done)


def blocks_of(names: Sequence[str], inside: str = "", most: float | None = None) -> dict[str, list[str]]:
    """The names of groups by the module that makes a block: the children of the network.

    A child that holds more than half of all groups is replaced by its own children.

    >>> blocks_of(["conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1"])
    {'conv1': ['conv1'], 'layer1': ['layer1.0.conv1', 'layer1.1.conv1'], 'layer2': ['layer2.0.conv1']}
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


def _features(name: str, captured: Mapping[str, Sequence[tuple[Any, Any]]]) -> Tensor:
    """A block's outputs of all its calls in one row. Shape: → (numbers,) float32"""
    outputs = [output for _, output in captured.get(name, ())]
    if not outputs or not all(isinstance(each, Tensor) for each in outputs):
        raise SecateurError(
            f"block {name} is not called, or returns no tensor, so it has no features; leave --blocks out"
        )
    return torch.cat([each.float().flatten() for each in outputs])
