"""A student that is pruned while it is trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...models.evaluate import device_of
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from ...models.surgery.slim import narrow, slim
from ...models.tracing.atoms import BoolArray
from .feature_hooks import FeatureHooks


class ShrinkingStudent(nn.Module):
    """A student whose channels can be pruned between steps, and whose modules ``names`` are recorded.

    Which channels are alive is part of its state: loading the checkpoint of a pruned student prunes this one first.
    """

    def __init__(self, net: Supernet, names: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.student = FeatureHooks(slim(net, net.dense), names)
        for g, group in enumerate(net.groups):
            self.register_buffer(f"alive{g}", torch.ones(group.width, dtype=torch.bool, device=device_of(net.model)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """The student's output."""
        output: Tensor = self.student(*inputs)
        return output

    def alive_masks(self) -> list[BoolArray]:
        """Which channels are left. Shape: (width,) each"""
        return [self.get_buffer(f"alive{g}").cpu().numpy() for g in range(len(self.net.groups))]

    def subnetwork(self) -> Subnetwork:
        """The channels that are left, as a subnetwork."""
        return _kept(self.alive_masks())

    def prune_to(self, subnetwork: Subnetwork, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Keep these channels only, in the student and in the state of the optimizer that trains it."""
        self.student.captured.clear()  # their graph holds the old shapes of parameters
        narrow(self.net, self.student.model, self.subnetwork(), subnetwork, optimizer=optimizer)
        for g, channels in enumerate(subnetwork.kept):
            alive = self.get_buffer(f"alive{g}")
            alive.fill_(False)[list(channels)] = True

    def slimmed(self) -> nn.Module:
        """A plain network of the channels that are left."""
        model = slim(self.net, self.subnetwork())
        model.load_state_dict(self.student.model.state_dict())
        return model

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        names = [f"{prefix}alive{g}" for g in range(len(self.net.groups))]
        if all(name in state_dict for name in names):  # else the error names what is missing
            self.prune_to(_kept([state_dict[name].cpu().numpy() for name in names]))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _kept(alive: Sequence[BoolArray]) -> Subnetwork:
    return Subnetwork(tuple(tuple(np.flatnonzero(each).tolist()) for each in alive))
